"""Row 2: SIGTERM and SIGINT at random moments, and a second Ctrl-C."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.end_to_end.conftest import Bench
from tests.faults import driving
from tests.faults.ledger_check import Observer, problems_of
from tests.faults.scorecard import Row

SEED = 20_260_301
EXIT_INTERRUPTED = 130
MOST_SECONDS = 30.0
"""Whoever stops a driver for good, as a batch system does, waits about so long before it kills."""
NUM_TRIALS, ADDED = 6, 4
_SIGCAUGHT = re.compile(r"^SigCgt:\s*([0-9a-f]+)$", re.MULTILINE)


@pytest.mark.faults
@pytest.mark.parametrize("is_second", [False, True], ids=["one", "two"])
def test_signalled_driver_ends_with_everything_stored(
    marked_bench: Bench, row: Callable[..., Row], full: bool, is_second: bool
) -> None:
    bench, chance = marked_bench, random.Random(SEED + is_second)
    title = "a second Ctrl-C after SIGINT or SIGTERM" if is_second else "SIGINT or SIGTERM at a random moment"
    filled = row(2, title, "from the signal to the driver's end")
    num_trials = NUM_TRIALS
    with Observer(driving.folder_of(bench) / "study.db") as observer:
        args = driving.command(bench, "--budget", "3600", "--trials", str(num_trials))
        while filled.runs < (10 if full else 2):
            process = driving.start(bench, *args)
            _wait_until_listening(process)
            driving.wait_for_moment(process, observer, chance)
            if process.poll() is None:
                number = signal.SIGTERM if filled.runs % 2 else signal.SIGINT
                seconds = _signal(process, number, chance.uniform(0.2, 1.5) if is_second else None)
                filled.runs += 1
                filled.recover_seconds.append(seconds)
                if seconds > MOST_SECONDS:
                    filled.failures.append(f"run {filled.runs}: {seconds:.1f} s from {number.name} to the driver's end")
                if is_done := process.returncode == 0 and _is_done(bench, num_trials):  # MLflow alone was still waited for
                    num_trials += ADDED
                if process.returncode != EXIT_INTERRUPTED and not is_done:
                    filled.failures.append(f"run {filled.runs}: exit code {process.returncode} after {number.name}")
            else:
                assert process.returncode == 0, driving.said(bench)
                num_trials += ADDED
            args = ["--resume", driving.FOLDER, "--trials", str(num_trials)]
        assert driving.run(bench, *args) == 0, driving.said(bench)
        observer.look()
    filled.failures += [*observer.problems, *problems_of(driving.folder_of(bench), observer.seen, num_trials)]
    assert filled.failures == []


def _is_done(bench: Bench, num_trials: int) -> bool:
    """Whether all trials have ended and the best one is exported."""
    ended = [record for record in driving.records(bench) if record.ended is not None]
    return len(ended) == num_trials and (driving.folder_of(bench) / "best" / "README.md").is_file()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals, pause_seconds: float | None) -> float:
    """Sends one signal, or a Ctrl-C after it as well; seconds from the last one until the process has ended."""
    os.kill(process.pid, number)
    if pause_seconds is not None:
        time.sleep(pause_seconds)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
    since = time.monotonic()
    process.wait(driving.END_SECONDS)
    return time.monotonic() - since


def _wait_until_listening(process: subprocess.Popen[bytes]) -> None:
    """Until the driver has put in its own handlers: before that nothing has begun, and Python's own end the process."""
    while process.poll() is None:
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            found = _SIGCAUGHT.search(status.read())
        if found and int(found[1], 16) & (1 << (signal.SIGTERM - 1)):
            return
        time.sleep(0.02)
