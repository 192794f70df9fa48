"""`python -m benchmarks.simulated_driver TRIALS REPORTS FILE`: what the driver costs while so many trials report each second.

Ray, Tune, referee and ledger are real, so are the workers' processes; only what a trial computes is a sleep.
"""

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.commands import Ended
from benchmarks.large_ledger import new_report
from benchmarks.measuring import Run
from search_spaces.studies.leaderboard import SPACE
from trainables.config import TrialConfig
from tuner.cluster import local_ray
from tuner.housekeeping import Sweeper
from tuner.interrupts import Interrupts
from tuner.ledger import Ledger
from tuner.progress import Progress, Tally
from tuner.records import TrialRecord
from tuner.referee import Referee
from tuner.settings import SearchSettings

_RESULT = "result.json"
_WINDOW = (0.5, 0.9)
"""Of all reports those that are measured: all workers are up by then, and none is at its end."""


@dataclass(frozen=True)
class SimulatedDriver:
    """The program as an entry.  All trials run throughout: there are no rungs, and the sampler is random."""

    num_trials: int
    num_reports: int

    def arguments(self, folder: Path) -> list[str]:
        """See `commands.Program`."""
        return ["-m", "benchmarks.simulated_driver", str(self.num_trials), str(self.num_reports), str(folder / _RESULT)]

    def environment(self, folder: Path) -> Mapping[str, str]:
        """See `commands.Program`."""
        return {}

    def read(self, ended: Ended) -> Run:
        """See `commands.Program`."""
        result = json.loads((ended.folder / _RESULT).read_text(encoding="utf-8"))
        return Run(
            self.num_trials, ended.seconds, ended.largest_bytes, {**result, "all processes, MiB": ended.tree_bytes / 2**20}
        )


class Clock:
    """A referee's listener that notes when each report was heard, and what this process had computed by then."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, float]] = []

    def __call__(self, event: str, _record: TrialRecord) -> None:
        """Takes in one event."""
        if event == "report":
            self.reports.append((time.perf_counter(), time.process_time()))

    def figures(self) -> dict[str, float]:
        """In the window: the share of a core, reports a second, and milliseconds computed for each."""
        first, last = (int(share * len(self.reports)) for share in _WINDOW)
        (began, computed), (ended, computed_then) = self.reports[first], self.reports[last]
        seconds, cpu_seconds, num_reports = ended - began, computed_then - computed, last - first
        return {
            "CPU s a second": cpu_seconds / seconds,
            "reports/s": num_reports / seconds,
            "CPU a report, ms": 1000 * cpu_seconds / num_reports,
        }


def run(folder: Path, num_trials: int, num_reports: int) -> dict[str, float]:
    """One search of simulated trials, all at once."""
    base = TrialConfig().override({"num_reports": num_reports, "budget_examples": 1000 * num_reports})
    settings = SearchSettings.parse({"trials": num_trials, "searcher": "random", "early_stopping": "none"})
    clock, ledger = Clock(), Ledger.create(folder, {})
    progress = Progress("simulated", Tally(num_trials, num_reports, 1000 * num_reports), lambda: [], Console(), quiet=True)
    listeners = (progress, Sweeper(folder, [], settings.keep_models), clock)

    def tell_all(event: str, record: TrialRecord) -> None:
        for listener in listeners:
            listener(event, record)

    referee = Referee(ledger, settings, SPACE, base, folder, attributes={}, listener=tell_all)
    with local_ray(num_trials, 0) as scratch:
        from tuner.runner import run_trials  # imports Ray, which reads how it is guarded when it is imported

        run_trials(referee, settings, num_slots=num_trials, scratch=scratch, interrupts=Interrupts(""), trainable=_simulated())
    return clock.figures()


def _simulated() -> type:
    from trainables.trainable import TrialTrainable

    class SimulatedTrial(TrialTrainable):
        """Reports each second from its first report on."""

        def _next_report(self) -> dict[str, Any]:
            self._session = (self._session or time.time()) + 1
            time.sleep(max(0.0, self._session - time.time()))
            return new_report(self._known_reports + 1, 0.5)

    return SimulatedTrial


def main() -> None:
    num_trials, num_reports, file = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        file.write_text(json.dumps(run(Path(folder), num_trials, num_reports)), encoding="utf-8")


if __name__ == "__main__":
    main()
