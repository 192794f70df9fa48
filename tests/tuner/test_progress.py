import dataclasses
import io
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trainables.config import TrialConfig
from tuner.progress import Progress, Tally, describe_event
from tuner.records import Confirms, TrialRecord, rank
from tuner.rungs import rung_reports

METRICS = {"sst_accuracy": 0.41, "qqp_accuracy": 0.72, "sts_pearson": 0.5, "examples_per_second": 123.4, "train_seconds": 1.0}
ASSIGNMENT: dict[str, Any] = {"optimizer.lr": 3.14159e-5, "heads.*.kind": "mlp", "objective.smart.enabled": True}


def record(number: int, state: Any = "running", scores: tuple[float, ...] = (), **changes: Any) -> TrialRecord:
    reports = tuple({"report": i, "budget": 100 * i, "score": s, **METRICS} for i, s in enumerate(scores, start=1))
    return TrialRecord(**{**_plain(number, state, reports), **changes})


def _plain(number: int, state: Any, reports: Any) -> dict[str, Any]:
    config = TrialConfig().to_tree()
    return {"number": number, "state": state, "assignment": dict(ASSIGNMENT), "config": config, "reports": reports}


def tally(**changes: Any) -> Tally:
    made = {"num_trials": 12, "num_reports": 9, "full_budget": 900, "reduction_factor": 3, "rung_reports": (1, 3)}
    return Tally(**{**made, **changes})


def play(to: Any) -> None:
    """A search of four trials, event by event."""
    to("ask", record(0))
    to("report", record(0, scores=(0.5,)))
    to("ask", record(1))
    to("report", record(1, scores=(0.4,)))
    to("end", record(1, "stopped", (0.4,)))
    to("report", record(0, scores=(0.5, 0.625)))
    to("ask", record(2))
    to("end", record(2, "failed", reason="diverged", detail="score is nan at report 1"))
    to("requeue", record(3, scores=(0.1,)))


def show(width: int, *, terminal: bool, quiet: bool = False, rungs: Any = ((1, 2, 1, 0.5), (3, 0, 0, None))) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    progress = Progress("night1", tally(), lambda: rungs, console, quiet=quiet)
    with progress:
        play(progress)
    if terminal:
        console.print(progress.render())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_examples_are_counted_once_from_report_to_report() -> None:
    numbers = tally()
    play(numbers.note)
    assert numbers.examples_done == 300
    assert [r.number for r in numbers.running] == [0, 3]
    numbers.note("report", record(3, scores=(0.1, 0.2)))  # taken up after its first report, which another driver saw
    assert numbers.examples_done == 400


def test_no_rung_is_expected_to_stop_what_confirms_or_is_audited() -> None:
    expected = 100 * (1 + 2 / 3 + 6 / 9)  # of a trial that rungs may stop
    assert tally(num_trials=15, num_to_confirm=3).examples_to_come() == pytest.approx(12 * expected + 3 * 900)
    numbers = tally(num_trials=1 + 3, num_to_confirm=3)
    numbers.note("report", replace(record(0, scores=(0.5,)), audited=1))
    assert numbers.examples_to_come() == pytest.approx(800 + 3 * 900)
    numbers.note("confirm", replace(record(1), confirms=Confirms(None, 0)))
    numbers.note("report", replace(record(1, scores=(0.5,)), confirms=Confirms(None, 0)))
    assert numbers.examples_to_come() == pytest.approx(800 + 800 + 2 * 900)
    numbers.note("end", replace(record(1, "complete", (0.5,) * 9), confirms=Confirms(None, 0)))
    assert numbers.examples_to_come() == pytest.approx(800 + 2 * 900)


def test_the_best_is_a_complete_trial_where_there_is_one() -> None:
    numbers = tally()
    assert numbers.best is None
    numbers.note("ask", record(0))
    assert numbers.best is None
    numbers.note("end", record(1, "stopped", (0.9,)))
    assert numbers.best is not None and numbers.best.number == 1
    numbers.note("end", record(2, "complete", (0.5, 0.6)))
    numbers.note("end", record(3, "complete", (0.7, 0.2)))
    assert numbers.best.number == 3


@given(st.lists(st.tuples(st.sampled_from(("complete", "stopped", "failed", "running")), st.lists(st.floats(0, 1), max_size=2))))
def test_the_best_and_the_counts_are_those_of_all_records(parts: list[tuple[str, list[float]]]) -> None:
    records = [record(number, state, tuple(scores)) for number, (state, scores) in enumerate(parts)]
    numbers = tally()
    for one in records:
        numbers.take_in(record(one.number, scores=(0.5,)))
        numbers.take_in(one)
    assert numbers.best == next(iter(rank(records)), None)
    assert numbers.num_begun == len(records)
    assert numbers.running == [one for one in records if one.state == "running"]


def test_examples_to_come_expect_one_of_eta_to_go_on_at_each_rung() -> None:
    one_trial = 100 * (1 + 2 / 3 + 6 / 9)
    assert tally().examples_to_come() == pytest.approx(12 * one_trial)
    numbers = tally(num_trials=2)
    numbers.note("report", record(0, scores=(0.5, 0.5)))
    assert numbers.examples_to_come() == pytest.approx(one_trial + 100 * (1 + 6 / 3))
    numbers.note("report", record(0, scores=(0.5,) * 8))
    assert numbers.examples_to_come() == pytest.approx(one_trial + 100)
    numbers.note("end", record(0, "complete", (0.5,) * 9))
    numbers.note("end", record(1, "stopped", (0.5,)))
    assert numbers.examples_to_come() == 0


def test_without_early_stopping_full_budgets_are_to_come() -> None:
    assert tally(rung_reports=(), reduction_factor=1).examples_to_come() == pytest.approx(12 * 900)
    assert tally(rung_reports=()).examples_to_come() == pytest.approx(12 * 900)


@given(st.integers(1, 30), st.integers(2, 4), st.integers(0, 30))
def test_what_is_to_come_of_a_trial_lies_between_the_next_report_and_its_full_budget(
    num_reports: int, eta: int, reports_done: int
) -> None:
    reports_done = min(reports_done, num_reports - 1)
    rungs = rung_reports(num_reports, eta)
    budget = {"num_reports": num_reports, "full_budget": 100 * num_reports}
    numbers = tally(num_trials=1, **budget, reduction_factor=eta, rung_reports=rungs)
    numbers.note("requeue", record(0, scores=(0.5,) * reports_done))
    assert 99.99 <= numbers.examples_to_come() <= 100 * (num_reports - reports_done) + 0.01


@pytest.mark.parametrize(
    ("event", "of", "line"),
    [
        ("ask", record(3), "trial   3  starts   optimizer.lr=3.14e-05 heads.*.kind=mlp objective.smart.enabled=True"),
        ("requeue", record(12, scores=(0.5, 0.6)), "trial  12  goes on after report 2 of 9"),
        (
            "report",
            record(3, scores=(0.5, 0.625)),
            "trial   3  2/9  score 0.6250  sst_accuracy 0.410  qqp_accuracy 0.720  sts_pearson 0.500  123 examples/s",
        ),
        (
            "report",
            record(4, reports=({"report": 1, "score": 0.5, **METRICS, "examples_per_second": 0.0, "dev_share": 0.25},)),
            "trial   4  1/9  score 0.5000 on 25% of dev  sst_accuracy 0.410  qqp_accuracy 0.720  sts_pearson 0.500  "
            "no step since the last",
        ),
        ("end", record(3, "complete", (0.5,)), "trial   3  complete with score 0.5000"),
        ("end", record(3, "stopped", (0.5, 0.25)), "trial   3  stopped with score 0.5000"),
        ("end", record(3, "failed", reason="hung", detail="silent"), "trial   3  failed: hung  silent"),
        ("end", record(3, "stopped"), "trial   3  stopped"),
    ],
)
def test_an_event_in_a_line(event: str, of: TrialRecord, line: str) -> None:
    assert describe_event(event, of, 9) == line


def test_a_start_with_many_settings_stays_a_line() -> None:
    line = describe_event("ask", TrialRecord(0, "running", {f"a.long.path.{i}": i for i in range(60)}, {}, ()), 9)
    assert len(line) < 280 and line.endswith(" ...")


def test_where_there_is_no_terminal_each_event_is_one_line() -> None:
    lines = show(40, terminal=False).splitlines()
    assert len(lines) == 9
    assert all(line.startswith("0:00  trial ") for line in lines)
    assert "[" not in "".join(lines)


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_quiet(terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal)
    with Progress("night1", tally(), tuple, console, quiet=True) as progress:
        play(progress)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
    assert progress.tally.examples_done == 300


@pytest.mark.parametrize("width", [20, 80, 120])
def test_the_live_display_fits_and_says_what_matters(width: int) -> None:
    text = show(width, terminal=True)
    lines = text[text.rindex("night1:") :].splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    if width < 80:
        return
    shown = " ".join(" ".join(lines).split())
    for part in (
        "4 of 12 trials begun",
        "1 stopped, 1 failed, 2 running, 8 to come",
        "1/9 2 1 0.5000",
        "best: trial 0 (running), score 0.6250",
        "0 2/9 0.6250 0.410 0.720 0.500 123",
        "optimizer.lr=3.14e-05",
    ):
        assert part in shown, part


def test_the_display_is_drawn_before_anything_has_happened() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    progress = Progress("night1", tally(), lambda: [(1, 0, 0, None)], console)
    assert progress.eta_seconds is None and progress.examples_per_second == 0
    console.print(progress.render())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "0 of 12 trials begun" in text and "12 to come" in text and "rung" not in text


def test_a_name_with_brackets_is_shown_as_it_is() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    progress = Progress("[bold]x[/x]", tally(), tuple, console)
    odd = dataclasses.replace(record(0, scores=(0.5,)), assignment={"data.source": "[/red]"})
    progress("report", odd)
    console.print(progress.render())
    assert "[bold]x[/x]: " in console.file.getvalue() and "data.source=[/red]" in console.file.getvalue()  # type: ignore[attr-defined]
