"""The scorecard itself: what a row is, and how tests fill it in."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import ROOT
from tests.faults.scorecard import Row, markdown, write

TESTS = """
import pytest

pytestmark = [pytest.mark.row(7, "by marker", "to its end"), pytest.mark.faults]

@pytest.mark.parametrize("n", [1, 2, pytest.param(3, marks=pytest.mark.faults(quick=False))])
def test_counted(n, shared_row):
    shared_row.recover_seconds.append(float(n))
    assert n == 1, "two is wrong"

def test_that_cannot_be_run():
    pytest.skip("not here")

def test_by_itself(row):
    row(8, "by itself").runs = 5
    raise ValueError("of another kind")
"""


def test_scorecard_says_failures_and_figures(tmp_path: Path) -> None:
    rows = [
        Row(4, "workers", "to the next report", 2, [], [2.0, 4.0], [0.5]),
        Row(1, "driver", runs=1, failures=["trial 3 is gone"]),
    ]
    table = markdown(rows)
    assert table.splitlines()[2] == "| 1 | driver | 1 | 1 |  |  |  |  |"
    assert table.splitlines()[3] == "| 4 | workers (to the next report) | 2 | 0 | 3.0 | 4.0 | 0.50 | 0.50 |"
    assert "- row 1: trial 3 is gone" in table
    write(rows, tmp_path / "card")
    assert [row["number"] for row in json.loads((tmp_path / "card.json").read_text())] == [1, 4]


def test_rows_of_one_number_and_title_are_one(tmp_path: Path) -> None:
    rows = [
        Row(16, "clock", runs=3, recover_seconds=[1.0]),
        Row(16, "clock", runs=2, failures=["x"], recover_seconds=[3.0]),
        Row(16, "other"),
    ]
    assert "| 16 | clock | 5 | 1 | 2.0 | 3.0 |  |  |" in markdown(rows)
    assert markdown(rows).count("| 16 |") == 2
    assert [row.runs for row in rows] == [3, 2, 0]


def test_a_written_card_says_where_it_comes_from(tmp_path: Path) -> None:
    write([Row(4, "workers", runs=2)], tmp_path / "card")
    text = (tmp_path / "card.md").read_text()
    assert text.startswith("# Faults: the scorecard\n\nMade by `make test-faults` on ")
    assert " cores, " in text and text.endswith(markdown([Row(4, "workers", runs=2)]))


def test_a_row_reaches_the_scorecard(row: Callable[..., Row], pytestconfig: pytest.Config) -> None:
    made = row(99, "a row of this test")
    rows = next(value for value in pytestconfig.stash._storage.values() if isinstance(value, list) and made in value)
    rows.remove(made)


def test_what_comes_of_tests_stands_in_the_scorecard(tmp_path: Path) -> None:
    (tmp_path / "test_toy.py").write_text(TESTS)
    plugins = ["-p", "tests.conftest", "-p", "tests.faults.conftest"]
    options = ["-c", ROOT / "pyproject.toml", "--runfaults=quick", "--scorecard", tmp_path / "card"]
    command = [sys.executable, "-m", "pytest", *plugins, *options, tmp_path / "test_toy.py"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    shared, own = json.loads((tmp_path / "card.json").read_text())
    assert (shared["number"], shared["runs"], shared["recover_seconds"]) == (7, 2, [1.0, 2.0])
    assert shared["failures"] == ["test_counted[2]: AssertionError: two is wrong"]
    assert shared["notes"] == ["test_that_cannot_be_run was skipped: Skipped: not here"]
    assert (own["runs"], own["failures"]) == (5, ["test_by_itself: ValueError: of another kind"])
