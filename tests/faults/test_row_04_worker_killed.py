"""Row 4: the process that trains is killed at random moments; the search goes on by itself."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Bench
from tests.faults import driving, processes
from tests.faults.ledger_check import Observer, problems_of
from tests.faults.scorecard import Row

SEED = 19_990_321
MOST_KILLS_A_TRIAL = 3  # as often it is started again
GONE_SECONDS = 10.0
ARGS = ("--budget", "3600", "--concurrency", "1", "--early-stopping", "none", "--searcher", "random")


@pytest.mark.faults
def test_worker_killed_at_random_moments(
    make_bench: Callable[[str], Bench], marked_bench: Bench, row: Callable[..., Row], full: bool
) -> None:
    num_kills, num_trials = (20, 16) if full else (2, 4)  # a kill may come too late for its trial
    filled = row(4, "a trial's process killed with -9 at a random moment", "from the kill to the trial's next report")
    args = (*ARGS, "--trials", str(num_trials))
    untouched = make_bench("untouched")
    assert driving.run(untouched, *driving.command(untouched, *args)) == 0, driving.said(untouched)
    bench = marked_bench
    process = driving.start(bench, *driving.command(bench, *args))
    with Observer(driving.folder_of(bench) / "study.db") as observer:
        shared = _kill_workers(bench, process, observer, filled, num_kills)
        assert process.wait(driving.END_SECONDS) == 0, driving.said(bench)
        observer.look()
    left, seconds = processes.wait_until_gone(driving.mark_of(bench), GONE_SECONDS)
    filled.failures += [f"{processes.describe(pid)} is still there after {GONE_SECONDS:g} s" for pid in left]
    filled.failures += [f"{file} is still there" for file in sorted(shared) if Path(file).exists()]
    filled.failures += [*observer.problems, *problems_of(driving.folder_of(bench), observer.seen, num_trials)]
    filled.failures += driving.apart(driving.records(bench), driving.records(untouched))
    whole = sum(driving.redone_whole(bench).values())
    filled.notes.append(
        f"{len(shared)} shared-memory files were seen, none is left; the last process was gone {seconds:.1f} s after the driver; "
        f"{whole} intervals were trained whole a second time"
    )
    assert filled.runs == num_kills
    assert filled.failures == []


def _kill_workers(bench: Bench, process: subprocess.Popen[bytes], observer: Observer, filled: Row, num_kills: int) -> set[str]:
    """Kills so many, and gives the shared-memory files that were seen meanwhile."""
    chance, kills, shared = random.Random(SEED), Counter[int](), set[str]()
    while filled.runs < num_kills and process.poll() is None:
        trial = _wait_for_report(process, observer, kills)
        if trial is None:
            break
        time.sleep(chance.uniform(0, 2))
        shared |= processes.shared_memory(driving.mark_of(bench))
        now = [record.number for record in driving.records(bench) if record.state == "running"]
        pids = processes.workers(driving.mark_of(bench))
        if now != [trial] or len(pids) != 1:
            continue
        lost, killed_at = driving.lost_intervals(bench), time.monotonic()
        os.kill(pids[0], signal.SIGKILL)
        filled.runs, kills[trial] = filled.runs + 1, kills[trial] + 1
        filled.redone_intervals += lost
        if (seconds := _wait_for_next_report(process, observer, trial, killed_at)) is not None:
            filled.recover_seconds.append(seconds)
    return shared


def _wait_for_report(process: subprocess.Popen[bytes], observer: Observer, kills: Counter[int]) -> int | None:
    """A trial that has reported, runs, and may still be killed; None where the search has ended."""
    while process.poll() is None:
        seen = list(observer.seen)
        ended = {event.trial for event in seen if event.kind == "end"}
        live = {event.trial for event in seen if event.kind == "report"} - ended
        for trial in live:
            if kills[trial] < MOST_KILLS_A_TRIAL:
                return trial
        time.sleep(0.05)
    return None


def _wait_for_next_report(process: subprocess.Popen[bytes], observer: Observer, trial: int, since: float) -> float | None:
    """Seconds until the trial's next report; the one that was on its way when the worker was killed is none."""
    while process.poll() is None:
        moments = [
            moment
            for event, moment in list(observer.first_seen.items())
            if event.kind == "report" and event.trial == trial and moment > since + 1
        ]
        if moments:
            return min(moments) - since
        time.sleep(0.05)
    return None
