"""A study whose students wait for their teachers, without Ray: whoever is handed out reports at once."""

from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study, StudyRow, study_space
from tuner.ledger import Ledger
from tuner.referee import Order, Referee
from tuner.samplers import grid_points

STUDY = Study(
    "paper.table",
    "A table",
    "paper 1",
    (
        StudyRow("teacher", "A teacher", {"optimizer.lr": 1e-4}),
        StudyRow("student", "Its student", {"optimizer.lr": 2e-4}, teachers={"sst": "teacher"}),
        StudyRow("plain", "Neither", {"optimizer.lr": 3e-4}),
    ),
)
SEARCH = Path("/s")


def referee_of(toy: Any, study: Any, seeds: int = 1, storage: str | None = None) -> Referee:
    space = study_space(STUDY, seeds)
    settings = toy.settings(searcher="grid", early_stopping="none", trials=3 * seeds)
    ledger = Ledger(study)
    ledger.enqueue(grid_points(space, toy.base, settings.trials, 0))
    return Referee(ledger, settings, space, toy.base, SEARCH, attributes={}, storage=storage)


def rows(orders: list[Any]) -> list[Any]:
    """Learning rates, by which rows are known, or what else is answered."""
    names = {1e-4: "teacher", 2e-4: "student", 3e-4: "plain"}
    return [names[order.config["optimizer"]["lr"]] if isinstance(order, Order) else order for order in orders]


def teacher_of(order: Any) -> Any:
    return order.config["objective"]["distill"]["teachers"]["sst"]


def finish(toy: Any, referee: Referee, number: int) -> None:
    for index in (1, 2, 3):
        referee.hear(number, toy.report(index, 0.5))


def test_a_student_waits_for_its_teacher_and_others_do_not(toy: Any) -> None:
    referee = referee_of(toy, toy.new_study())
    first = [referee.next_order() for _ in range(4)]
    assert rows(first) == ["teacher", "plain", "wait", "wait"]
    assert referee.num_to_start == 1
    finish(toy, referee, first[0].number)
    student, end = referee.next_order(), referee.next_order()
    assert rows([student, end]) == ["student", "finished"]
    assert teacher_of(student) == str(SEARCH / "trials" / "0000" / "best")


def test_a_teacher_that_is_stored_is_named_by_its_place(toy: Any) -> None:
    referee = referee_of(toy, toy.new_study(), storage="s3://b/mine?region=x")
    teacher = referee.next_order()
    assert isinstance(teacher, Order)
    finish(toy, referee, teacher.number)
    assert teacher_of(referee.next_order()) == "s3://b/mine/trials/0000?region=x"


def test_each_student_learns_from_the_teacher_of_its_own_seed(toy: Any) -> None:
    referee = referee_of(toy, toy.new_study(), seeds=2)
    first = [referee.next_order() for _ in range(4)]
    assert rows(first) == ["teacher", "plain", "teacher", "plain"]
    finish(toy, referee, first[2].number)
    student = referee.next_order()
    assert teacher_of(student) == str(SEARCH / "trials" / f"{first[2].number:04d}" / "best")
    assert student.config["seed"] == first[2].config["seed"]
    assert referee.next_order() == "wait"


def test_a_student_whose_teacher_failed_fails_and_says_why(toy: Any) -> None:
    study = toy.new_study()
    referee = referee_of(toy, study)
    teacher = referee.next_order()
    referee.end(teacher.number, "failed", "diverged", "nan")
    assert rows([referee.next_order(), referee.next_order()]) == ["plain", "finished"]
    student = Ledger(study).record(1)
    assert (student.state, student.reason) == ("failed", "error")
    assert student.detail == "its teacher, trial 0, has failed"


@pytest.mark.parametrize("teacher_is_done", [False, True])
def test_a_new_driver_takes_up_students_that_waited(toy: Any, teacher_is_done: bool) -> None:
    study = toy.new_study()
    before = referee_of(toy, study)
    teacher, *_ = [before.next_order() for _ in range(3)]
    if teacher_is_done:
        finish(toy, before, teacher.number)
    after = referee_of(toy, study)
    assert after.num_to_start == (2 if teacher_is_done else 3)
    again = rows([after.next_order() for _ in range(3)])
    assert again == (["student", "plain", "finished"] if teacher_is_done else ["teacher", "plain", "wait"])
