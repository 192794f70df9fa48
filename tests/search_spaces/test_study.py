"""Studies on a table of their own: two rows, a teacher and its student."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.domains import Categorical
from search_spaces.space import Dimension, Space, trial_seed
from search_spaces.study import ROW, SEED, Study, StudyRow, parse_space, study_space, without_teacher_rows
from trainables.config import TrialConfig
from trainables.parts import ConfigError

BASE = TrialConfig.parse({"budget_examples": 1000, "num_reports": 3})
PLAIN = StudyRow("plain", "Plain", printed={"sst_accuracy": 0.5}, examples=500)
TEACHER = StudyRow("teacher", "A teacher", {"phases": [{"tasks": ["sst"]}]}, examples=2000)
STUDENT = StudyRow("student", "Its student", {"optimizer.lr": 1e-4}, {"sst_accuracy": 0.6}, teachers={"sst": "teacher"})
STUDY = Study("paper.table", "A table", "paper 1", (PLAIN, TEACHER, STUDENT), {"optimizer.lr": 5e-5, "data.batch_size": 8})


def test_a_row_is_the_study_s_settings_under_its_own_over_the_base() -> None:
    plain, student = (STUDY.config(row, BASE) for row in (PLAIN, STUDENT))
    assert plain.optimizer.lr == 5e-5 and student.optimizer.lr == 1e-4
    assert plain.data.batch_size == student.data.batch_size == 8
    assert STUDY.config(TEACHER, BASE).phases[0].tasks == ("sst",)


def test_rows_see_examples_in_the_paper_s_proportion() -> None:
    assert [STUDY.config(row, BASE).budget_examples for row in STUDY.rows] == [250, 1000, 1000]
    assert STUDY.only(["plain"]).config(PLAIN, BASE).budget_examples == 250, "whoever else is trained"
    unsaid = replace(STUDY, rows=(replace(PLAIN, examples=None, part=0.9), replace(STUDENT, teachers={})))
    assert [unsaid.config(row, BASE).budget_examples for row in unsaid.rows] == [900, 1000]


@given(budget=st.integers(1, 40))
def test_a_row_with_less_than_an_example_a_report_says_what_is_enough(budget: int) -> None:
    base = TrialConfig.parse({"num_reports": 3}).model_copy(update={"budget_examples": budget})
    problems = STUDY.too_small(base)
    if problems:
        assert problems[0].startswith("study paper.table: row plain: num_reports <= its share of the examples must hold")
        assert "--budget 12 is enough" in problems[0] and budget < 12
        assert STUDY.too_small(base.model_copy(update={"budget_examples": 12})) == []
    assert bool(problems) == (round(budget / 4) < 3)
    assert STUDY.config(PLAIN, base).budget_examples >= 3, "a study that has begun goes on"  # type: ignore[operator]


def test_what_is_set_by_hand_holds_in_every_row() -> None:
    space = study_space(STUDY, 1, {"optimizer.lr": 3e-3, "phases.0.share": 1.0})
    assert {config.optimizer.lr for _, config in space.configs(BASE)} == {3e-3}


def test_a_student_names_its_teacher_s_row() -> None:
    config = STUDY.config(STUDENT, BASE)
    assert config.objective.distill.teachers == {"sst": "row:teacher", "qqp": None, "sts": None}
    assert without_teacher_rows(config) == config.override({"objective.distill.teachers.sst": None})


@pytest.mark.parametrize(
    ("rows", "message"),
    [((PLAIN, PLAIN), "stands twice"), ((STUDENT, TEACHER), "its teacher teacher must stand before it")],
)
def test_a_table_that_makes_no_sense_is_refused(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(STUDY, rows=rows)


def test_some_rows_bring_their_teachers_along() -> None:
    assert [row.name for row in STUDY.only(["student"]).rows] == ["teacher", "student"]
    assert [row.name for row in STUDY.only(["plain"]).rows] == ["plain"]
    with pytest.raises(ConfigError) as caught:
        STUDY.only(["plan", "student"])
    assert caught.value.problems == ["--rows: 'plan' is no row of paper.table; rows are plain, teacher, student"]


@given(num_seeds=st.integers(1, 5))
def test_the_points_are_all_rows_with_each_seed(num_seeds: int) -> None:
    points = list(study_space(STUDY, num_seeds).grid(BASE))
    assert points == [{SEED: number, ROW: row.name} for number in range(num_seeds) for row in STUDY.rows]


def test_rows_of_one_seed_number_start_alike() -> None:
    space = study_space(STUDY, 2)
    seeds = [space.configure(point, BASE, 7, number).seed for number, point in enumerate(space.grid(BASE))]
    assert seeds == [trial_seed(7, 0)] * 3 + [trial_seed(7, 1)] * 3


def test_a_ledger_gives_back_the_study_that_was_written() -> None:
    space = study_space(STUDY, 3, {"encoder.name": "tiny"})
    again = parse_space(json.loads(json.dumps(space.to_tree())))
    assert again.to_tree() == space.to_tree()
    assert [config for _, config in again.configs(BASE)] == [config for _, config in space.configs(BASE)]  # type: ignore[attr-defined]


def test_a_space_is_no_study() -> None:
    space = Space("toy", (Dimension("optimizer.lr", Categorical((1e-4,))),))
    assert parse_space(space.to_tree()) == space


def test_a_row_that_does_not_fit_is_told_with_its_name() -> None:
    wrong = replace(STUDY, rows=(PLAIN, StudyRow("odd", "Odd", {"optimizer.rate": 1.0})))
    assert study_space(wrong, 1).problems(BASE) == [
        "study paper.table: row odd: optimizer.rate: there is no 'rate' to set (did you mean name?)"
    ]
