"""A whole search from the command to its exit, ours and the plain one, as programs that take turns."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import Ended
from benchmarks.measuring import Run
from benchmarks.search_workload import SearchWorkload
from trainables.tasks import best_report
from tuner.ledger import Ledger

_SEARCH = "search"
_WORKLOAD, _RESULT = "workload.json", "result.json"


@dataclass(frozen=True)
class OurSearch:
    """`python -m tuner.search` as a user starts it, tokens, export and MLflow's mirror included."""

    workload: SearchWorkload

    def arguments(self, folder: Path) -> list[str]:
        """See `commands.Program`."""
        w = self.workload
        options = {
            "--data": w.source,
            "--space": w.space,
            "--trials": w.trials,
            "--budget": w.budget,
            "--reduction-factor": w.reduction_factor,
            "--seed": w.seed,
            "--concurrency": w.concurrency,
            "--audit-share": 0,
            "--confirm": 0,
            "--out": folder / _SEARCH,
            "--tracking-uri": f"sqlite:///{folder / 'mlflow.db'}",
        }
        config = {
            "encoder.name": w.encoder,
            "num_reports": w.reports,
            "early_dev_share": w.early_dev_share,
            "optimizer.lr_schedule": "linear",  # the default of `transformers.Trainer`
        }
        assignments = [word for path, value in config.items() for word in ("--set", f"{path}={value}")]
        return ["-m", "tuner.search", "-q", *(str(word) for pair in options.items() for word in pair), *assignments]

    def environment(self, folder: Path) -> Mapping[str, str]:
        """See `commands.Program`; an empty cache, as the plain search tokenises, too."""
        return {"TRITUNE_CACHE": str(folder / "cache")}

    def read(self, ended: Ended) -> Run:
        """See `commands.Program`."""
        records = Ledger.open(ended.folder / _SEARCH).records(live=False)
        failed = [f"trial {r.number}: {r.state} {r.reason} {r.detail}" for r in records if r.state not in {"complete", "stopped"}]
        if failed:
            raise RuntimeError("\n".join(failed))
        return run_of(ended, self.workload, [record.reports for record in records])


@dataclass(frozen=True)
class PlainSearch:
    """`python -m benchmarks.peers.plain_search`."""

    workload: SearchWorkload

    def arguments(self, folder: Path) -> list[str]:
        """See `commands.Program`."""
        self.workload.write(folder / _WORKLOAD)
        return ["-m", "benchmarks.peers.plain_search", str(folder / _WORKLOAD), str(folder / _RESULT)]

    def environment(self, folder: Path) -> Mapping[str, str]:
        """See `commands.Program`."""
        return {}

    def read(self, ended: Ended) -> Run:
        """See `commands.Program`."""
        last_reports = json.loads((ended.folder / _RESULT).read_text(encoding="utf-8"))
        return run_of(ended, self.workload, [[report] for report in last_reports])


def run_of(ended: Ended, workload: SearchWorkload, trials: list[Iterable[Mapping[str, Any]]]) -> Run:
    """A search as a turn: trials are its units.

    Args:
        ended: its command.
        workload: what it was to do.
        trials: of each trial its reports, or the last one, with `examples`, `score` and `dev_share`.

    Raises:
        RuntimeError: there are not as many trials as there should be, or one has no report.
    """
    reports = [list(own) for own in trials]
    if len(reports) != workload.trials or not all(reports):
        raise RuntimeError(f"{workload.trials} trials with reports must be there, but got {[len(own) for own in reports]}")
    examples = sum(own[-1]["examples"] for own in reports)
    best = best_report(report for own in reports for report in own)
    more = {
        "wall, s": ended.seconds,
        "CPU, s": ended.cpu_seconds,
        "examples": examples,
        "examples/s": examples / ended.seconds,
        "examples/CPU s": examples / ended.cpu_seconds,
        "best score": best["score"] if best else float("nan"),
        "all processes, MiB": ended.tree_bytes / 2**20,
    }
    return Run(len(reports), ended.seconds, ended.largest_bytes, more)
