"""The report's section on plan and fact."""

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.leaderboard import leaderboard_of
from reports.page import Paragraph, Section, TablePart
from reports.search import Search
from reports.sections_checks import planned as section_of
from tests import synthetic
from tests.tuner.planned import planned
from tuner.plan import PLAN
from tuner.prepare import prepare
from tuner.stretches import DRIVERS


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    return planned(prepare({"trials": 12, "space": "basics"}, set_texts=["encoder.name=tiny"])).to_tree()


def section(tree: Any, num_trials: int, ended: str | None) -> Section:
    start = synthetic.START.astimezone()
    times = [start.isoformat(), (start + datetime.timedelta(hours=2)).isoformat()]
    header = {**synthetic.HEADER, PLAN: tree, "ended": ended, DRIVERS: [times]}
    records = synthetic.records(num_trials)
    if ended is None:
        records[-1] = replace(records[-1], state="running", ended=None)
    return section_of(Search(Path("night"), header, records, leaderboard_of(header, records)))


def words_and_marks(found: Section) -> tuple[str, set[str]]:
    [paragraph, table] = found.parts
    assert isinstance(paragraph, Paragraph) and isinstance(table, TablePart)
    [marks] = [column.cells for column in table.columns if column.name == "in range"]
    return paragraph.text, set(marks)


def test_of_a_search_that_has_ended_as_planned_each_fact_is_in_its_range_or_not(tree: Any) -> None:
    words, marks = words_and_marks(section(tree, 12, "complete"))
    assert words == "The plan was made for 12 trials; 12 have ended."
    assert {"yes", "no"} & marks


@pytest.mark.parametrize(("num_trials", "ended", "num_ended"), [(28, "complete", 28), (12, "stopped", 12), (12, None, 11)])
def test_of_another_none_is(num_trials: int, ended: str | None, num_ended: int, tree: Any) -> None:
    words, marks = words_and_marks(section(tree, num_trials, ended))
    assert words.startswith(f"The plan was made for 12 trials; {num_ended} have ended. No figure is held against its range")
    assert marks == {"-"}
