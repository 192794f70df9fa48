from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.tradeoffs import front
from tests import synthetic
from trainables.tasks import CS224N
from tuner.records import TrialRecord


def trial(number: int, metrics: tuple[float, float, float], state: Any = "complete") -> TrialRecord:
    named = dict(zip(("sst_accuracy", "qqp_accuracy", "sts_pearson"), metrics, strict=True))
    return TrialRecord(number, state, {}, {}, ({"report": 1, "budget": 9, "score": sum(metrics) / 3, **named},))


def test_the_front_of_four_trials() -> None:
    records = [
        trial(0, (0.5, 0.8, 0.8)),
        trial(1, (0.4, 0.9, 0.8)),
        trial(2, (0.4, 0.8, 0.8)),
        trial(3, (0.9, 0.9, 0.9), state="stopped"),
        synthetic.confirming(4, 0, 0.99),
    ]
    found = front(records, CS224N)
    assert [(p.trial, p.is_best) for p in found.points] == [(0, True), (1, True), (2, False)]
    assert found.num_best == 2
    assert [(t.first, t.second) for t in found.trades] == [(0, 1), (0, 2), (1, 2)]


def test_one_that_does_not_train_every_task_does_not_stand_on_it() -> None:
    partly = replace(trial(1, (0.9, 0.1, 0.1)), config=synthetic.PARTLY)
    assert [(p.trial, p.is_best) for p in front([trial(0, (0.5,) * 3), partly], CS224N).points] == [(0, True)]


def test_tasks_that_trade_have_a_correlation_below_0() -> None:
    found = front([trial(n, (n / 10, 1 - n / 10, n / 10)) for n in range(5)], CS224N)
    assert [trade.correlation for trade in found.trades] == [pytest.approx(v) for v in (-1, 1, -1)]


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=8))
def test_somebody_is_on_the_front_and_the_best_in_a_task_is(values: list[tuple[float, float, float]]) -> None:
    found = front([trial(n, metrics) for n, metrics in enumerate(values)], CS224N)
    best = max(found.points, key=lambda point: point.metrics)
    assert best.is_best
    assert found.num_best >= 1


def test_equal_trials_stand_on_it_together() -> None:
    assert front([trial(0, (0.5,) * 3), trial(1, (0.5,) * 3)], CS224N).num_best == 2
