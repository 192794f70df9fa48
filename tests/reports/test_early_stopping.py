from typing import Any

import pytest

from reports.early_stopping import early_stopping
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
    assert found.num_missed == 1
    assert found.num_stopped == 2
    assert found.examples == 900 + 100 + 900 + 300 + 900 + 900 + 100
    assert found.examples_without == found.examples + 800 + 600
    assert found.saved == pytest.approx(1400 / found.examples_without)


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
    assert (one.score, one.rank) == (None, None)
