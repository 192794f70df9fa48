"""`python -m tests.faults.simulated_search HOW`: a search in this folder whose trial 1 goes wrong; Ray, Tune and ledger are real.

The workers' processes are real too; only what a trial computes is a sleep, so that a row of faults takes seconds.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.large_ledger import new_report
from search_spaces.studies.basics import SPACE
from trainables.config import TrialConfig
from trainables.heartbeat import beat
from tuner.cluster import local_ray
from tuner.housekeeping import Sweeper
from tuner.interrupts import Interrupts
from tuner.ledger import Ledger
from tuner.referee import Referee
from tuner.settings import SearchSettings

NUM_TRIALS, NUM_REPORTS, FAULTY = 4, 4, 1
LIMIT_SECONDS = 8.0
"""A trial that gets on beats each tenth of a second."""


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


FAULTS = {"loop": loop_for_ever, "deadlock": wait_for_its_own_lock, "sigstop": stop}


def simulated(fault: Any) -> type:
    from trainables.trainable import TrialTrainable

    class SimulatedTrial(TrialTrainable):
        def setup(self, config: dict[str, Any]) -> None:
            super().setup(config)
            with (self._folder / "starts").open("a") as file:
                file.write("started\n")

        def _next_report(self) -> dict[str, Any]:
            if self._folder.name == f"{FAULTY:04d}" and self._known_reports == 1:
                fault(self._folder)
            for _ in range(20):
                time.sleep(0.1)
                beat()
            return new_report(self._known_reports + 1, 0.5)

    return SimulatedTrial


def run(folder: Path, fault: Any) -> None:
    base = TrialConfig().override({"num_reports": NUM_REPORTS, "budget_examples": 1000 * NUM_REPORTS})
    tree = {"trials": NUM_TRIALS, "searcher": "random", "early_stopping": "none", "hang_limit_seconds": LIMIT_SECONDS}
    settings, ledger = SearchSettings.parse(tree), Ledger.create(folder, {})
    sweeper = Sweeper(folder, [], settings.keep_models)
    referee = Referee(ledger, settings, SPACE, base, folder, attributes={}, listener=sweeper)
    with local_ray(2, 0) as scratch:
        from tuner.runner import run_trials

        run_trials(referee, settings, num_slots=2, scratch=scratch, interrupts=Interrupts(""), trainable=simulated(fault))
    print(json.dumps([[record.number, record.state, record.reason, record.detail] for record in ledger.records()]))


if __name__ == "__main__":
    run(Path.cwd(), FAULTS[sys.argv[1]])
