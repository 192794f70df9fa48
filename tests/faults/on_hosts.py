"""Searches that are driven from the head of a cluster on three hosts, and looked at from outside: their folder is there."""

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.hosts import SHARED
from tests.cluster.ray_up import OnPrem
from tests.end_to_end.conftest import QUICK
from tests.faults.ledger_check import LEDGER, Observer, problems_of
from tuner.ledger import Ledger
from tuner.ledger_places import LedgerError
from tuner.records import TrialRecord

END_SECONDS = 1200.0
_POLL_SECONDS = 0.2
_ARGS = ("--data", f"{SHARED}/data", *QUICK, "--searcher", "random", "--early-stopping", "none")
_ALIKE = ("--set", "objective.smart.enabled=false")
"""Each trial's numbers are the same in every such search, and none takes many times as long as another."""


@dataclass
class HostSearch:
    """A search on a cluster, with an observer of its ledger that must be entered.

    Attributes:
        cluster: whose head it is driven from.
        name: of its folder.
        num_trials: that it is asked for.
        budget: of each, in examples.
        environment: what its drivers have in theirs, beside the usual.
    """

    cluster: OnPrem
    name: str
    num_trials: int
    budget: int
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    observer: Observer = field(init=False)

    def __post_init__(self) -> None:
        self.observer = Observer(self.folder / LEDGER)

    @property
    def folder(self) -> Path:
        """As this machine sees it."""
        return self.cluster.hosts.shared / "runs" / self.name

    @property
    def _log(self) -> Path:
        return self.cluster.hosts.shared / f"{self.name}.log"

    def begin(self) -> None:
        """Starts its driver."""
        size = ("--trials", str(self.num_trials), "--budget", str(self.budget))
        self._start("--address", "auto", *_ARGS, *_ALIKE, *size, "--out", f"{SHARED}/runs/{self.name}")

    def resume(self, command: str) -> None:
        """Goes on with it, by a command that its last driver has printed."""
        python, dash_m, module, *words = command.split()
        assert (python, dash_m, module) == ("python", "-m", "tuner.search"), command
        self._start(*words)

    def _start(self, *words: str) -> None:
        self.process = self.cluster.start_python("-m", "tuner.search", *words, log=self._log, environment=self.environment)

    def said(self) -> str:
        """All that its drivers have printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def records(self) -> list[TrialRecord]:
        """As the ledger has them; none where there is none yet."""
        try:
            return Ledger.open(self.folder).records()
        except LedgerError:
            return []

    def is_over(self) -> bool:
        """Whether its driver has ended."""
        assert self.process is not None
        return self.process.poll() is not None

    def wait_until(self, is_so: Callable[[], bool], timeout_seconds: float = END_SECONDS) -> None:
        """Waits for something, or for the end of the driver.

        Raises:
            TimeoutError: neither came.
        """
        until = time.monotonic() + timeout_seconds
        while not (is_so() or self.is_over()):
            if time.monotonic() > until:
                raise TimeoutError(f"{self.name}: still at work after {timeout_seconds:g} s\n{self.said()[-3000:]}")
            time.sleep(_POLL_SECONDS)

    def running_on(self, host: str) -> list[int]:
        """Trials that a host is in the middle of: it made their newest report, the second to the fifth of nine."""
        return [
            record.number
            for record in self.records()
            if record.state == "running" and 2 <= len(record.reports) <= 5 and record.reports[-1]["host"] == host
        ]

    def seconds_to_next_report(self, trial: int, since: float) -> float | None:
        """From a moment of the monotonic clock to the trial's first report that was not on its way by then."""
        moments = [
            moment
            for event, moment in list(self.observer.first_seen.items())
            if event.kind == "report" and event.trial == trial and moment > since + 1
        ]
        return min(moments) - since if moments else None

    def problems(self) -> list[str]:
        """What is wrong with it at its end; empty: it ended well, all trials finished, and the ledger holds what it must."""
        self.observer.look()
        problems = [*self.observer.problems, *problems_of(self.folder, self.observer.seen, self.num_trials)]
        if self.process is None or self.process.returncode != 0:
            problems.append(f"the driver ended with {self.process and self.process.returncode}: {self.said()[-2000:]}")
        problems += [
            f"trial {record.number} is {record.state}, {record.reason}: {record.detail}"
            for record in self.records()
            if record.state not in {"complete", "stopped"}
        ]
        return [f"{self.name}: {problem}" for problem in problems]
