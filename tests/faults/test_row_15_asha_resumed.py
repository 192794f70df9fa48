"""Row 15: ASHA, interrupted and resumed, stops the trials that it would have stopped."""

import os
import random
import signal
from collections.abc import Callable

import pytest

from tests.end_to_end.conftest import Bench
from tests.faults import driving
from tests.faults.ledger_check import LEDGER, Observer, problems_of
from tests.faults.scorecard import Row

SEED = 20_101_015
NUM_TRIALS = 9
ARGS = ("--budget", "3600", "--concurrency", "1", "--trials", str(NUM_TRIALS))
"""One at a time: what ASHA decides hangs on who reported before, which is chance where several run at once."""


@pytest.mark.faults
def test_interrupted_asha_stops_the_same_trials(
    make_bench: Callable[[str], Bench], marked_bench: Bench, row: Callable[..., Row], full: bool
) -> None:
    filled = row(15, "a search under ASHA killed with -9, resumed")
    untouched, bench, chance = make_bench("untouched"), marked_bench, random.Random(SEED)
    assert driving.run(untouched, *driving.command(untouched, *ARGS)) == 0, driving.said(untouched)
    with Observer(driving.folder_of(bench) / LEDGER) as observer:
        while filled.runs < (6 if full else 2):
            process = driving.start(bench, *driving.command(bench, *ARGS))
            driving.wait_for_moment(process, observer, chance)
            if process.poll() is not None:
                break
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            filled.runs += 1
        assert driving.run(bench, *driving.command(bench, *ARGS)) == 0, driving.said(bench)
        observer.look()
    filled.failures += [*observer.problems, *problems_of(driving.folder_of(bench), observer.seen, NUM_TRIALS)]
    wanted, found = _endings(untouched), _endings(bench)
    filled.failures += [f"trial {n}: {found[n]}, uninterrupted {end}" for n, end in wanted.items() if found[n] != end]
    filled.notes.append(f"{sum(state == 'stopped' for state, _ in wanted.values())} of {NUM_TRIALS} trials were stopped")
    assert filled.runs > 0
    assert filled.failures == []


def _endings(bench: Bench) -> dict[int, tuple[str, int]]:
    return {record.number: (record.state, len(record.reports)) for record in driving.records(bench)}
