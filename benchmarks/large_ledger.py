"""`python -m benchmarks.large_ledger TRIALS FILE`: what asking, reporting, telling and reading cost beside so many trials."""

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from benchmarks.commands import Ended
from benchmarks.measuring import Run
from reports.leaderboard import plain, read_leaderboard
from search_spaces.studies.leaderboard import SPACE
from trainables.config import TrialConfig
from tuner.ledger import Ledger
from tuner.samplers import make_sampler
from tuner.study_tables import changed, transaction, write_trial

_BASE = TrialConfig().override({"budget_examples": 9000})
_ATTRIBUTES = {"seed": 0, "data_hashes": {"a.csv": 64 * "a"}, "encoder_sha256": 64 * "b", "git_commit": 40 * "c"}
_NUM_PATTERNS, _NUM_MEASURED = 50, 15
_REPORTS_OF_A_TRIAL, _SHARES = (1, 3, 9), (0.6, 0.25, 0.15)
_RESULT = "result.json"


@dataclass(frozen=True)
class LargeLedger:
    """The program as an entry: milliseconds of ask, one report and tell, in the leaderboard's space under TPE."""

    num_trials: int

    def arguments(self, folder: Path) -> list[str]:
        """See `commands.Program`."""
        return ["-m", "benchmarks.large_ledger", str(self.num_trials), str(folder / _RESULT)]

    def environment(self, folder: Path) -> Mapping[str, str]:
        """See `commands.Program`."""
        return {"OMP_NUM_THREADS": "1"}

    def read(self, ended: Ended) -> Run:
        """See `commands.Program`."""
        result = json.loads((ended.folder / _RESULT).read_text(encoding="utf-8"))
        return Run(1, result.pop("trial, ms") / 1000, ended.largest_bytes, result)


def new_report(index: int, score: float) -> dict[str, Any]:
    """As a trial sends it, in size and kinds."""
    tasks = {
        "sst_accuracy": score,
        "qqp_accuracy": score,
        "sts_pearson": score,
        "loss_sst": 1.5,
        "loss_qqp": 0.5,
        "loss_sts": 0.9,
    }
    costs = {"train_seconds": 30.0, "eval_seconds": 5.0, "examples_per_second": 33.3, "tokens_per_second": 1001.5}
    seen = {"report": index, "budget": 1000 * index, "examples": 1000 * index, "tokens": 30_000 * index, "dev_share": 0.25}
    return {**seen, "score": score, "mean_score": score, **tasks, **costs, "loss": 1.0, "lr": 1e-5, "grad_norm": 3.0}


def fill(ledger: Ledger, num_trials: int) -> None:
    """Ended trials: the first ones through the ledger's own calls, the others copies of them in a few transactions."""
    rng = np.random.default_rng(0)
    for number in range(min(num_trials, _NUM_PATTERNS)):
        ledger.ask(SPACE, _BASE, make_sampler("random", 0, number), _ATTRIBUTES)
        num_reports = int(rng.choice(_REPORTS_OF_A_TRIAL, p=_SHARES))
        for index in range(1, num_reports + 1):
            ledger.report(number, new_report(index, float(rng.random())))
        ledger.tell(number, "complete" if num_reports == _REPORTS_OF_A_TRIAL[-1] else "stopped")
    patterns: list[FrozenTrial] = list(ledger._known)
    with transaction(ledger._engine) as connection:
        for number, pattern in zip(range(_NUM_PATTERNS, num_trials), itertools.cycle(patterns), strict=False):
            write_trial(connection, ledger._study._study_id, None, changed(pattern, number=number))


def measure(folder: Path, num_trials: int) -> dict[str, float]:
    """Medians; everything is read from the disk first."""
    fill(Ledger.create(folder, {"base": _BASE.to_tree(), "settings": {}}), num_trials)
    ledger = Ledger.open(folder)
    opening = _seconds(ledger.records)
    board = _seconds(lambda: plain(read_leaderboard(folder)))
    times: dict[str, list[float]] = {"ask, ms": [], "report, ms": [], "tell, ms": []}
    for number in range(num_trials, num_trials + _NUM_MEASURED):
        acts: tuple[Callable[[], object], ...] = (
            lambda n=number: ledger.ask(SPACE, _BASE, make_sampler("tpe", 0, n), _ATTRIBUTES),  # type: ignore[misc]
            lambda n=number: ledger.report(n, new_report(1, 0.5)),  # type: ignore[misc]
            lambda n=number: ledger.tell(n, "stopped"),  # type: ignore[misc]
        )
        for name, act in zip(times, acts, strict=True):
            times[name].append(1000 * _seconds(act))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {"trial, ms": sum(medians.values()), **medians, "reading, s": opening, "leaderboard, s": board}


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def main() -> None:
    num_trials, file = int(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        file.write_text(json.dumps(measure(Path(folder), num_trials)), encoding="utf-8")


if __name__ == "__main__":
    main()
