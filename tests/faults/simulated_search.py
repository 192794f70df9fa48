"""`python -m tests.faults.simulated_search HOW`: a search in this folder whose trial 1 goes wrong; Ray, Tune and ledger are real.

The workers' processes are real too; only what a trial computes is a sleep, so that a row of faults takes seconds.
"""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.large_ledger import new_report
from search_spaces.studies.basics import SPACE
from tests.end_to_end.conftest import ROOT
from trainables.config import TrialConfig
from trainables.heartbeat import beat
from tuner.cluster import local_ray
from tuner.housekeeping import Sweeper
from tuner.interrupts import Interrupts
from tuner.ledger import Ledger
from tuner.referee import Referee
from tuner.settings import SearchSettings

NUM_TRIALS, NUM_REPORTS, FAULTY = 4, 4, 1
HANDED_OVER = 2
"""The first trial that a worker gets which has had another."""
LIMIT_SECONDS = 8.0
"""A trial that gets on beats each tenth of a second."""


def run_in(folder: Path, fault: str, group: Path | None = None) -> None:
    """The command, run to its end; in a control group, if there is one."""

    def join() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    command, environment = [sys.executable, "-m", "tests.faults.simulated_search", fault], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, preexec_fn=join
    )
    assert done.returncode == 0, done.stderr


def loop_for_ever(_folder: Path) -> None:
    while True:
        pass


def wait_for_its_own_lock(_folder: Path) -> None:
    lock = threading.Lock()
    with lock, lock:
        pass


def stop(_folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(3600)


HANGS = {"loop": loop_for_ever, "deadlock": wait_for_its_own_lock, "sigstop": stop}
HOARD_BYTES = 6 * 2**30


def hoard() -> None:
    """More than the control group has, page by page."""
    held: list[bytearray] = []
    while len(held) < HOARD_BYTES // 2**24:
        held.append(bytearray(os.urandom(1) * 2**24))


def refuse() -> None:
    raise MemoryError("no room")


MEMORY = {"hoard": hoard, "refuse": refuse}
"""What a trial does as long as it computes whole batches; with `-always` in parts of them, too."""
REPORTS: dict[str, dict[str, Any]] = {
    "nan": {"score": math.nan},
    "inf": {"qqp_accuracy": math.inf},
    "loss": {"loss": math.nan},
    "missing": {"sst_accuracy": None},
}
"""What a report holds otherwise; None: it is missing."""


def simulated(fault: str) -> type:
    from trainables.trainable import TrialTrainable

    class SimulatedTrial(TrialTrainable):
        def setup(self, config: dict[str, Any]) -> None:
            super().setup(config)
            with (self._folder / "starts").open("a") as file:
                file.write("started\n")

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            taken = super().reset_config(new_config)
            if fault == "handed over" and self._folder.name == f"{HANDED_OVER:04d}":
                starts = self._folder / "starts"
                if starts.read_text() == "started\n":
                    os.kill(os.getpid(), signal.SIGKILL)
            return taken

        def _next_report(self) -> dict[str, Any]:
            is_faulty = self._folder.name == f"{FAULTY:04d}" and self._known_reports == 1
            if is_faulty and fault in HANGS:
                HANGS[fault](self._folder)
            kind, _, always = fault.partition("-")
            if is_faulty and kind in MEMORY and (always or self._tree["data"]["micro_batch_size"] is None):
                MEMORY[kind]()
            for _ in range(20):
                time.sleep(0.1)
                beat()
            changes = REPORTS.get(fault, {}) if is_faulty else {}
            report = {**new_report(self._known_reports + 1, 0.9 if is_faulty else 0.5), **changes}
            return {key: value for key, value in report.items() if value is not None}

    return SimulatedTrial


def run(folder: Path, fault: str) -> None:
    base = TrialConfig().override({"num_reports": NUM_REPORTS, "budget_examples": 1000 * NUM_REPORTS})
    tree = {
        "trials": NUM_TRIALS,
        "searcher": "random",
        "early_stopping": "none",
        "hang_limit_seconds": LIMIT_SECONDS if fault in HANGS else None,
    }
    settings, ledger = SearchSettings.parse(tree), Ledger.create(folder, {})
    sweeper = Sweeper(folder, [], settings.keep_models)
    referee = Referee(ledger, settings, SPACE, base, folder, attributes={}, listener=sweeper)
    with local_ray(2, 0) as scratch:
        from tuner.runner import run_trials

        run_trials(referee, settings, num_slots=2, scratch=scratch, interrupts=Interrupts(""), trainable=simulated(fault))
    print(json.dumps([[record.number, record.state, record.reason, record.detail] for record in ledger.records()]))


if __name__ == "__main__":
    run(Path.cwd(), sys.argv[1])
