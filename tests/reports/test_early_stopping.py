from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.early_stopping import EarlyStopping, early_stopping
from tests.synthetic import PARTLY
from tuner.records import Confirms, TrialRecord

RUNGS, FULL = (1, 3), 900


def trial(
    number: int, scores: list[float], *, state: Any = "complete", passed: tuple[int, ...] = (1, 3), **more: Any
) -> TrialRecord:
    reports = tuple({"report": i, "budget": 100 * i, "score": score} for i, score in enumerate(scores, start=1))
    return TrialRecord(number, state, {}, {}, reports, passed_rungs=frozenset(passed), **more)


def rising(first: float, last: float) -> list[float]:
    return [first + (last - first) * i / 8 for i in range(9)]


def test_the_figures_of_a_small_search() -> None:
    records = [
        trial(0, rising(0.50, 0.70)),
        trial(1, [0.40], state="stopped", passed=()),
        trial(2, rising(0.30, 0.80), passed=(), audited=1),
        trial(3, [0.55, 0.56, 0.50], state="stopped", passed=(1,)),
        trial(4, rising(0.60, 0.75)),
        trial(5, rising(0.52, 0.60), passed=(1,), audited=3),
        trial(6, rising(0.52, 0.99), confirms=Confirms(4, 0), passed=()),
        trial(7, [0.1], state="failed", passed=()),
    ]
    found = early_stopping(records, RUNGS, FULL, top=2)
    first, second = found.rungs
    assert (first.report, first.reached, first.went_on, first.audited) == (1, 7, 4, 1)
    assert first.survival == 4 / 7
    assert (second.report, second.reached, second.went_on, second.audited) == (3, 4, 2, 1)
    assert first.num_pairs == second.num_pairs == 4
    assert first.correlation == pytest.approx(-0.4)  # at the rung 0.50, 0.30, 0.60, 0.52, at the end 0.70, 0.80, 0.75, 0.60
    assert [(t.trial, t.stopped_at, t.score, t.rank) for t in found.audited] == [(2, 1, 0.80, 1), (5, 3, 0.60, 4)]
    assert [t.is_missed for t in found.audited] == [True, False]
    assert (found.num_others, found.bar, found.num_missed) == (2, 2, 1)
    assert found.num_stopped == 2
    assert found.examples == 900 + 100 + 900 + 300 + 900 + 900 + 100
    assert found.examples_without == found.examples + 800 + 600
    assert found.saved == pytest.approx(1400 / found.examples_without)


def audited(score: float, *others: float, top: int = 4) -> EarlyStopping:
    """A search with one audited trial, which came to `score`, beside trials with their full budget that came to `others`."""
    records = [trial(number, rising(0.1, other)) for number, other in enumerate(others)]
    own = trial(len(others), rising(0.1, score), passed=(), audited=1)
    return early_stopping([*records, own], RUNGS, FULL, top)


def test_in_a_small_search_an_audited_trial_is_missed_only_where_it_betters_the_best() -> None:
    assert audited(0.6, 0.7, 0.5, 0.4).num_missed == 0
    assert audited(0.2, 0.7, 0.5, 0.4).num_missed == 0
    assert audited(0.8, 0.7, 0.5, 0.4).num_missed == 1
    assert audited(0.7, 0.7, 0.5, 0.4).num_missed == 0  # a draw
    assert (audited(0.8).bar, audited(0.8).num_missed) == (None, 0)


@given(st.lists(st.floats(0.1, 1), min_size=1, max_size=9), st.floats(0.1, 1), st.integers(1, 5))
def test_an_audited_trial_is_missed_where_fewer_than_the_best_of_the_others_stand_above_it(
    others: list[float], score: float, top: int
) -> None:
    found = audited(score, *others, top=top)
    num_above = sum(other >= score for other in others)
    assert found.num_missed == (num_above < (top if len(others) >= top else 1))


def test_audited_trials_are_not_measured_by_each_other() -> None:
    both = [trial(n, rising(0.1, score), passed=(), audited=1) for n, score in ((1, 0.8), (2, 0.9))]
    found = early_stopping([trial(0, rising(0.1, 0.7)), *both], RUNGS, FULL, top=1)
    assert [t.is_missed for t in found.audited] == [True, True]


def test_one_that_does_not_train_every_task_is_not_missed() -> None:
    partly = replace(trial(1, rising(0.1, 0.9), passed=(), audited=1), config=PARTLY)
    assert early_stopping([trial(0, rising(0.1, 0.7)), partly], RUNGS, FULL, top=1).num_missed == 0


def test_of_nothing_nothing_is_said() -> None:
    found = early_stopping([], RUNGS, FULL, top=4)
    assert [(rung.reached, rung.survival, rung.correlation) for rung in found.rungs] == [(0, 0.0, None)] * 2
    assert (found.audited, found.saved, found.num_missed) == ((), 0.0, 0)


def test_what_runs_is_compared_only_where_it_was() -> None:
    records = [trial(0, [0.5, 0.6], state="running", passed=(1,)), trial(1, [0.5], state="running", passed=())]
    first, second = early_stopping(records, RUNGS, FULL, top=1).rungs
    assert (first.reached, first.went_on, second.reached) == (1, 1, 0)


def test_an_audited_trial_that_still_runs_has_no_place_yet() -> None:
    [one] = early_stopping([trial(0, [0.5, 0.6], state="running", passed=(), audited=1)], RUNGS, FULL, top=1).audited
    assert (one.score, one.rank, one.state, one.is_missed) == (None, None, "running", False)
