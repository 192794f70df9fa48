"""A plan as people read it."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from tests.tuner.planned import NODE, planned
from tuner.plan import Plan
from tuner.plan_text import duration, hours, money, plain, render
from tuner.prepare import prepare


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(prepare({"trials": 12, "space": "basics"}, set_texts=["encoder.name=tiny"]), price=2.0)


def test_it_says_all_that_was_promised(plan: Plan) -> None:
    text = re.sub(" +", " ", plain(plan))
    for words in (
        "Space basics\n 15 dimensions: 34,848 combinations, times 8 ranges of real numbers",
        "objective.smart.weights.* 0.01 to 10, log where objective.smart.enabled=true",
        "trials 12, 2 at once; tpe, asha; in full 630 examples",
        "wall clock ",
        "worker-hours ",
        "cost ",
        "at 2.00 an hour of a worker",
        "Rungs (one trial of 3 goes on)",
        "peak disk ",
        "a trial 1.3 GB of memory",
        "node here: 2 at once take up to 3.3 GB; it has 8.0 GB\n",
        "Timed in 1 s, 2 at once",
        "dearest ",
        "to confirm 15 trainings in full once the search is over: ",
        "Taken for granted",
        "- one of 20 trials that are stopped, and one at least, runs on to its full budget (--audit-share)",
    ):
        assert words in text, words
    assert re.search(r"^ +2\* +\S", text, re.MULTILINE) and re.search(r"^ +64 +\S", text, re.MULTILINE)


def test_too_little_memory_cries_out(plan: Plan) -> None:
    text = plain(replace(plan, nodes=(replace(NODE, memory_bytes=10**9), replace(NODE, host="there", memory_bytes=0))))
    assert "node here: 2 at once take up to 3.3 GB; it has 1.0 GB: TOO LITTLE" in text
    assert "node there: 2 at once take up to 3.3 GB; it has not known\n" in text


def test_a_node_that_the_driver_runs_on_holds_its_processes_too(plan: Plan) -> None:
    nodes = (replace(NODE, memory_bytes=4 * 10**9, other_bytes=9 * 10**8), replace(NODE, host="there", memory_bytes=4 * 10**9))
    text = plain(replace(plan, nodes=nodes))
    assert "node here: 2 at once and the search's own processes, 900 MB, take up to 4.2 GB; it has 4.0 GB: TOO LITTLE" in text
    assert "node there: 2 at once take up to 3.3 GB; it has 4.0 GB\n" in text


def test_without_a_price_there_is_no_cost_and_without_rungs_no_table_of_them(plan: Plan) -> None:
    bare = replace(plan, price=None, cost=None, rungs=(), workers=tuple(replace(row, cost=None) for row in plan.workers))
    assert "cost " not in plain(bare) and "Rungs" not in plain(bare)


@pytest.mark.parametrize("width", [60, 100, 200])
def test_on_a_terminal_it_says_the_same_numbers(plan: Plan, width: int) -> None:
    file = io.StringIO()
    Console(file=file, force_terminal=True, width=width, color_system=None).print(render(plan))
    shown = re.sub(r"\s+", " ", file.getvalue())
    assert "Space basics" in shown and "Taken for granted" in shown and "node here: 2 at once" in shown


def test_what_stands_in_files_moves_no_cursor(plan: Plan) -> None:
    evil = replace(plan, failed={"middle": "no \x1b[2J file"}, curves="a\nb")
    assert "\x1b" not in plain(evil) and "\\x1b[2J" in plain(evil)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (12_000, "3 h 20 min"),
        (14_399, "4 h"),
        (172_800, "2 d"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_small_figures_keep_two_digits() -> None:
    assert [hours(value) for value in (0.0123, 0.5, 3.14159, 512.3)] == ["0.012", "0.5", "3.1", "512"]
    assert [money(value) for value in (0.0, 0.0042, 0.5, 1234.5)] == ["0.00", "0.0042", "0.50", "1,234.50"]
