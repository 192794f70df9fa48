"""Row 16: between two drivers the clock is set back an hour, then forward a day.

The clock is libfaketime's: each process of the driver reads another time of day (`faketime -f OFFSET`), the monotonic one is
left as it is, as a real change of the clock leaves it.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable

import pytest

from tests.end_to_end.conftest import Bench
from tests.faults import driving
from tests.faults.ledger_check import LEDGER, Observer, problems_of, read_log
from tests.faults.scorecard import Row

NUM_TRIALS = 2
ARGS = ("--budget", "7200", "--concurrency", "1", "--early-stopping", "none", "--trials", str(NUM_TRIALS))
OFFSETS = ("-1h", "+1d", "-1h", "+1d")

needs_faketime = pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")


@needs_faketime
@pytest.mark.faults
def test_newest_state_is_the_newest_whatever_the_clock_says(marked_bench: Bench, row: Callable[..., Row], full: bool) -> None:
    bench = marked_bench
    bench.environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    filled = row(
        16, "clock set back an hour, forward a day, between a kill and the next start", "from the new start to its first event"
    )
    with Observer(driving.folder_of(bench) / LEDGER) as observer:
        _run_until_reports(bench, observer, (), filled)
        for offset in OFFSETS if full else OFFSETS[:2]:
            _run_until_reports(bench, observer, ("faketime", "-f", offset), filled)
            filled.runs += 1
        assert driving.run(bench, *driving.command(bench, *ARGS)) == 0, driving.said(bench)
        observer.look()
    folder = driving.folder_of(bench)
    filled.failures += [*observer.problems, *problems_of(folder, observer.seen, NUM_TRIALS)]
    for trial in range(NUM_TRIALS):
        log = read_log(folder, trial)
        numbers = [report for report, _, _ in log.reports]
        filled.redone_intervals.append(float(log.num_redone))
        if numbers != sorted(set(numbers)):
            filled.failures.append(f"trial {trial} went on from something older: it trained the reports {numbers}")
    assert filled.failures == []


def _run_until_reports(bench: Bench, observer: Observer, under: tuple[str, ...], filled: Row) -> None:
    """Until there are two more reports, then killed; no more than the search has."""
    before, started = observer.num("report"), time.monotonic()
    process = driving.start(bench, *driving.command(bench, *ARGS), under=under)
    while process.poll() is None and observer.num("report") < before + 2:
        time.sleep(0.02)
    if under and (seconds := observer.seconds_to_first_event(started)) is not None:
        filled.recover_seconds.append(seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
