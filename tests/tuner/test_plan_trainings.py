"""What follows a search in its simulation."""

from typing import Any

import pytest

from tests.tuner.confirming_toy import CHANGES
from tuner.plan_simulation import Course
from tuner.plan_trainings import _of_the_best
from tuner.records import Confirms, TrialRecord

REFERENCE = Course(1.0, (5.0, 5.0), (0.1, 0.1), -1)


def course(number: int, score: float) -> Course:
    return Course(1.0, (1.0, 1.0), (score, score), number)


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        ({}, [-1, 9, 3, -1, 9, 3]),
        ({None: 2}, [9, 3, 9, 3]),  # as in an interrupted search: those of the reference come first
        ({None: 2, 3: 1}, [9, 9, 3]),
        ({None: 2, 7: 2}, [9, 3, 9, 3]),  # of one that leads no more
        ({None: 2, 9: 2, 3: 2}, []),
    ],
)
def test_of_each_config_what_was_begun_is_left_out(toy: Any, begun: dict[int | None, int], expected: list[int]) -> None:
    again = [
        TrialRecord(20, "complete", {}, {}, (), confirms=Confirms(name, repeat))
        for name in begun
        for repeat in range(begun[name])
    ]
    follow = _of_the_best(toy.settings(**CHANGES), REFERENCE, [course(7, 0.2), course(3, 0.5)], [], again)
    assert [after.number for after in follow([course(9, 0.9), course(8, 0.1)])] == expected


def test_what_was_cut_short_goes_on_first_and_without_a_best_nothing_follows(toy: Any) -> None:
    cut = [course(20, 0.4)]
    assert _of_the_best(toy.settings(**CHANGES), REFERENCE, [], cut, [])([]) == cut
