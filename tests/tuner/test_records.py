import itertools
import math
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tuner.records import TrialRecord, rank, standing

STATES = ("complete", "stopped", "failed", "running", "interrupted")
SCORES = st.lists(st.floats(0, 1) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=6)


def record(number: int, state: Any = "running", scores: Any = (), train_seconds: float = 2.0) -> TrialRecord:
    reports = tuple(
        {"budget": 100 * i, "score": score, "train_seconds": train_seconds} for i, score in enumerate(scores, start=1)
    )
    return TrialRecord(number, state, {}, {}, reports)


RECORDS = st.lists(st.tuples(st.sampled_from(STATES), SCORES), max_size=8).map(
    lambda all_: [record(number, *parts) for number, parts in enumerate(all_)]
)


@given(SCORES)
def test_the_best_report_is_the_first_of_the_highest_numbers(scores: list[float]) -> None:
    of = record(0, scores=scores)
    finite = [score for score in scores if math.isfinite(score)]
    assert of.score == (max(finite) if finite else None)
    assert of.best_report is (of.reports[scores.index(max(finite))] if finite else None)


def test_what_a_trial_cost() -> None:
    assert (record(0).budget_used, record(0).train_seconds, record(0).score) == (0, 0, None)
    of = record(0, scores=(0.5, 0.75, 0.25), train_seconds=1.5)
    assert (of.budget_used, of.train_seconds, of.score) == (300, 4.5, 0.75)


@given(RECORDS)
def test_the_ranking_holds_each_trial_that_may_win_once(records: list[TrialRecord]) -> None:
    ranked = rank(records)
    assert sorted(r.number for r in ranked) == [r.number for r in records if r.score is not None and r.state != "failed"]
    assert rank(reversed(records)) == ranked


@given(RECORDS)
def test_a_full_budget_comes_first_then_the_score_then_the_earlier_trial(records: list[TrialRecord]) -> None:
    ranked = rank(records)
    for one, next_ in itertools.pairwise(ranked):
        assert one.score is not None and next_.score is not None
        assert (one.state == "complete") >= (next_.state == "complete")
        if (one.state == "complete") == (next_.state == "complete"):
            assert (one.score, -one.number) > (next_.score, -next_.number)


@given(RECORDS, st.data())
def test_a_trial_that_leaves_a_task_untrained_comes_later(records: list[TrialRecord], data: st.DataObject) -> None:
    phases = ([{"tasks": ["sst"]}], [{"tasks": ["sst"]}, {"tasks": ["sts"]}])
    mixed = [replace(r, config={"heads": {"sst": {}, "sts": {}}, "phases": data.draw(st.sampled_from(phases))}) for r in records]
    whole = [r.trains_every_task for r in rank(mixed)]
    assert whole == sorted(whole, reverse=True), "whatever their budgets"
    assert sorted(mixed, key=standing)[: len(whole)] == rank(mixed)


def test_the_standing_of_some_trials() -> None:
    parts = [
        ("stopped", (0.9,)),
        ("complete", (0.5,)),
        ("failed", (0.99,)),
        ("complete", (0.6, 0.1)),
        ("stopped", ()),
        ("running", (0.95,)),
        ("interrupted", (0.9,)),
        ("stopped", (math.nan,)),
    ]
    records = [record(number, *part) for number, part in enumerate(parts)]
    assert [r.number for r in rank(records)] == [3, 1, 5, 0, 6]
    assert [r.number for r in sorted(records, key=standing)] == [3, 1, 5, 0, 6, 2, 4, 7]
