import datetime
import math
from dataclasses import replace
from typing import Any

import pytest

from reports.curves import best_so_far, conflict_curves, curves, rung_budgets, thinned
from tests import synthetic
from tuner.records import TrialRecord
from tuner.stretches import DRIVERS

START = datetime.datetime(2026, 11, 20, 12, 0)


def trial(number: int, scores: list[float], *, state: Any = "complete", ended: float | None = None, **more: Any) -> TrialRecord:
    reports = tuple({"report": i, "budget": 100 * i, "score": score, **more} for i, score in enumerate(scores, start=1))
    moment = None if ended is None else START + datetime.timedelta(seconds=ended)
    return TrialRecord(number, state, {}, {}, reports, started=START, ended=moment)


def test_curves_hold_what_was_reported_and_how_it_ended() -> None:
    first, second = curves([trial(0, [0.1, 0.2]), trial(1, [0.3, math.nan], state="failed"), trial(2, [])])
    assert (first.trial, first.ending, first.budgets, first.scores) == (0, "complete", (100, 200), (0.1, 0.2))
    assert (second.ending, second.budgets, second.scores) == ("failed", (100,), (0.3,))


def test_what_confirms_is_no_trial_of_the_search() -> None:
    found = [trial(0, [0.5], ended=10), synthetic.confirming(1, 0, 0.9)]
    assert [curve.trial for curve in curves(found)] == [0]
    assert [point.trial for point in best_so_far({}, found).points] == [0]


def test_rungs_stand_at_the_budgets_of_their_reports() -> None:
    assert rung_budgets([trial(0, [0.1]), trial(1, [0.1] * 5)], (1, 3, 9)) == (100, 300)


def test_the_best_rises_with_the_trials_that_have_their_full_budget() -> None:
    records = [
        trial(0, [0.5], ended=60),
        trial(1, [0.9], state="stopped", ended=120),
        trial(2, [0.4, 0.4], ended=180),
        trial(3, [0.6, 0.7], ended=240),
        trial(4, [0.99], state="running"),
    ]
    found = best_so_far({}, records)
    assert [(p.seconds, p.examples, p.score, p.trial) for p in found.points] == [(60, 100, 0.5, 0), (240, 600, 0.7, 3)]
    assert (found.seconds, found.examples) == (240, 600)


def test_one_that_does_not_train_every_task_is_not_the_best() -> None:
    records = [trial(0, [0.5], ended=60), replace(trial(1, [0.9], ended=90), config=synthetic.PARTLY), trial(2, [0.6], ended=120)]
    found = best_so_far({}, records)
    assert [(p.examples, p.score, p.trial) for p in found.points] == [(100, 0.5, 0), (300, 0.6, 2)]


def test_the_clock_stands_still_while_no_driver_works() -> None:
    def at(seconds: float) -> str:
        return (START + datetime.timedelta(seconds=seconds)).astimezone().isoformat()

    header = {DRIVERS: [[at(0), at(100)], [at(1000), at(1300)]]}
    found = best_so_far(header, [trial(0, [0.5], ended=50), trial(1, [0.6], ended=1200)])
    assert [point.seconds for point in found.points] == [50, 300]


def test_of_nothing_there_is_no_best() -> None:
    found = best_so_far({}, [])
    assert (found.points, found.seconds, found.examples) == ((), 0.0, 0)


def test_conflicts_are_those_of_trials_with_pcgrad() -> None:
    told = trial(0, [0.1, 0.2], conflict_share=0.25, gradient_change_sst=-0.5)
    [curve] = conflict_curves([told, trial(1, [0.1])])
    assert (curve.trial, curve.budgets, curve.shares, curve.changes) == (0, (100, 200), (0.25, 0.25), {"sst": -0.5})


def test_fewer_curves_hold_the_best_and_the_worst() -> None:
    found = curves([trial(number, [number / 100]) for number in range(100)])
    few = thinned(found, 7)
    assert len(few) == 7
    assert {0, 99} <= {curve.trial for curve in few}
    assert thinned(found, 100) == found


@pytest.mark.parametrize("most", [1, 2, 3])
def test_however_few_are_asked_for(most: int) -> None:
    assert len(thinned(curves([trial(number, [0.1]) for number in range(9)]), most)) == most
