"""Row 1: the driver is killed at random moments and begun again each time."""

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.end_to_end.conftest import Bench
from tests.faults import driving
from tests.faults.ledger_check import Observer, problems_of
from tests.faults.scorecard import Row

SEED = 20_181_106
NUM_TRIALS, ADDED = 8, 4


@pytest.mark.faults
def test_driver_killed_at_random_moments(marked_bench: Bench, row: Callable[..., Row], full: bool) -> None:
    bench, chance = marked_bench, random.Random(SEED)
    filled = row(1, "driver killed with -9 at a random moment, resumed", "from the new start to its first event")
    num_trials, started = NUM_TRIALS, 0.0
    with Observer(driving.folder_of(bench) / "study.db") as observer:
        anew = ("--budget", "3600", "--trials", str(num_trials))
        args = driving.command(bench, *anew)
        while filled.runs < (20 if full else 3):
            before, started = driving.redone_whole(bench), time.monotonic()
            process = driving.start(bench, *args)
            driving.wait_for_moment(process, observer, chance)
            if process.poll() is None:
                lost = driving.lost_intervals(bench)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                filled.runs += 1
                filled.failures += _more_than_one_redone(before, driving.redone_whole(bench), filled.runs)
                filled.redone_intervals += [max(lost)] if lost else []
                args = driving.command(bench, *anew)
            else:
                assert process.returncode == 0, driving.said(bench)
                num_trials += ADDED
                args = ["--resume", driving.FOLDER, "--trials", str(num_trials)]
            _note_recovery(filled, observer, started)
        assert driving.run(bench, "--resume", driving.FOLDER, "--trials", str(num_trials)) == 0, driving.said(bench)
        observer.look()
    filled.failures += [*observer.problems, *problems_of(driving.folder_of(bench), observer.seen, num_trials)]
    filled.notes.append(f"{len(observer.seen)} events of {num_trials} trials were seen while it ran, and stand there once")
    assert filled.failures == []


def _note_recovery(filled: Row, observer: Observer, started: float) -> None:
    observer.look()
    seconds = observer.seconds_to_first_event(started)
    if filled.runs > 1 and seconds is not None:
        filled.recover_seconds.append(seconds)


def _more_than_one_redone(before: dict[int, int], after: dict[int, int], run: int) -> list[str]:
    """Whole report intervals that were trained again since the last kill: one a trial may be, as its checkpoint was not whole."""
    return [
        f"kill {run}: trial {trial} trained {redone - before.get(trial, 0)} report intervals again"
        for trial, redone in after.items()
        if redone - before.get(trial, 0) > 1
    ]
