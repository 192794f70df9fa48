import datetime

import pytest

from benchmarks.search_overhead import measure
from tuner.records import TrialRecord

START = datetime.datetime(2026, 1, 1)


def trial(number: int, start: float, end: float, train: float) -> TrialRecord:
    reports = ({"budget": 1, "score": 0.5, "train_seconds": train, "eval_seconds": 1.0},)
    times = [START + datetime.timedelta(seconds=seconds) for seconds in (start, end)]
    return TrialRecord(number, "complete", {}, {}, reports, started=times[0], ended=times[1])


def test_busy_slots_and_nothing_else_cost_nothing() -> None:
    figures = measure([trial(0, 0, 10, 9), trial(1, 0, 10, 9)], concurrency=2)
    assert figures["overhead"] == pytest.approx(1)


def test_the_tail_is_told_apart() -> None:
    figures = measure([trial(0, 0, 10, 9), trial(1, 0, 30, 29)], concurrency=2)
    assert figures["overhead"] == pytest.approx(60 / 40)
    assert figures["overhead without the tail"] == pytest.approx(1)
    assert figures["tail seconds"] == 20
