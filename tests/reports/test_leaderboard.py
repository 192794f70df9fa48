import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from rich.console import Console
from typer.testing import CliRunner

from reports.leaderboard import (
    RANKING,
    Leaderboard,
    build_leaderboard,
    full_budget_examples,
    leaderboard_of,
    main,
    plain,
    print_leaderboard,
    render,
    short_names,
    varying_paths,
)
from search_spaces.studies.leaderboard import SPACE
from tests import synthetic
from trainables.config import TrialConfig
from trainables.paths import parse_assignments
from tuner.ledger import Ledger, TrialRecord
from tuner.records import rank

STATES = ("complete", "stopped", "failed", "interrupted", "running")


def report(budget: int, score: float) -> dict[str, Any]:
    metrics = {"sst_accuracy": score - 0.1, "qqp_accuracy": score + 0.1, "sts_pearson": score / 2}
    return {"budget": budget, "score": score, "train_seconds": 2.5, **metrics}


def record(number: int, state: Any = "complete", scores: tuple[float, ...] = (0.5,), **assignment: Any) -> TrialRecord:
    reports = tuple(report(100 * (i + 1), score) for i, score in enumerate(scores))
    return TrialRecord(number, state, assignment, {}, reports, reason="diverged" if state == "failed" else "")


def records_of_any_kind() -> st.SearchStrategy[list[TrialRecord]]:
    points: list[dict[str, Any]] = [{}, {"a.x": 1}, {"a.x": 2, "b.x": True}, {"c": "long" * 5}]
    scores = st.lists(st.floats(0, 1), max_size=3)
    one = st.builds(make, st.sampled_from(STATES), scores, st.sampled_from(points))
    return st.lists(one, max_size=6).map(lambda records: [replace(record, number=n) for n, record in enumerate(records)])


def make(state: str, scores: list[float], assignment: dict[str, Any]) -> TrialRecord:
    if state == "complete" and not scores:  # the ledger has no such trial
        scores = [0.5]
    return record(0, state, tuple(scores), **assignment)


@given(records_of_any_kind())
def test_each_trial_has_one_row_and_ranks_go_up_from_1(records: list[TrialRecord]) -> None:
    rows = build_leaderboard(records, 300).rows
    assert sorted(row.trial for row in rows) == [r.number for r in records]
    ranks = [row.rank for row in rows if row.rank is not None]
    assert ranks == list(range(1, len(ranks) + 1))
    assert all(row.rank is None for row in rows[len(ranks) :])


@given(records_of_any_kind(), st.randoms())
def test_the_order_does_not_depend_on_the_order_of_the_records(records: list[TrialRecord], random: Any) -> None:
    shuffled = list(records)
    random.shuffle(shuffled)
    assert [row.trial for row in build_leaderboard(shuffled, None).rows] == [
        r.trial for r in build_leaderboard(records, None).rows
    ]


@given(records_of_any_kind())
def test_the_first_is_the_best_of_those_with_their_full_budget_where_there_is_one(records: list[TrialRecord]) -> None:
    leaderboard = build_leaderboard(records, 300)
    candidates = [r for r in records if r.state == "complete"] or [r for r in records if r.reports and r.state != "failed"]
    best = next(iter(rank(records)), None)
    if not candidates:
        assert leaderboard.best == {}
        assert best is None
        return
    first = leaderboard.rows[0]
    assert first.rank == 1
    assert first.score == max(r.score for r in candidates if r.score is not None)
    assert leaderboard.best == records[first.trial].assignment
    assert best is not None
    assert best.number == first.trial


@given(records_of_any_kind(), st.integers(80, 200))
def test_no_line_is_wider_than_the_terminal_and_no_cell_is_lost(records: list[TrialRecord], width: int) -> None:
    leaderboard = build_leaderboard(records, 300)
    text = rendered(leaderboard, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for row in leaderboard.rows:
        assert row.score is None or f"{row.score:.4f}" in text
        for value in (row.assignment.get(path) for path in leaderboard.paths):
            assert not isinstance(value, str) or value in text


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_of_a_confirmed_search_is_wider_than_the_terminal(width: int) -> None:
    header, records = synthetic.confirmed(20)
    found = leaderboard_of(header, records)
    tables = rendered(found, width).partition("20 trials:")[0]
    assert max(len(line) for line in tables.splitlines()) <= width
    assert "20,25,30" in tables


def test_complete_trials_lead_then_the_others_by_score_then_failed_then_unscored() -> None:
    records = [
        record(0, "stopped", (0.9,)),
        record(1, "complete", (0.6, 0.7)),
        record(2, "failed", (0.95,)),
        record(3, "running", ()),
        record(4, "complete", (0.8, 0.75)),
        record(5, "interrupted", (0.65,)),
    ]
    rows = build_leaderboard(records, 200).rows
    assert [(row.rank, row.trial) for row in rows] == [(1, 4), (2, 1), (3, 0), (4, 5), (None, 2), (None, 3)]
    assert rows[0].score == 0.8
    assert rows[0].metrics == pytest.approx({"sst": 0.7, "qqp": 0.9, "sts": 0.4})
    assert [row.budget_share for row in rows] == [1.0, 1.0, 0.5, 0.5, 0.5, 0.0]
    assert rows[0].train_seconds == 5.0
    assert rows[4].reason == "diverged"


def test_of_equal_scores_the_earlier_trial_leads() -> None:
    assert [row.trial for row in build_leaderboard([record(1), record(0)], None).rows] == [0, 1]


def test_a_score_that_is_no_number_comes_last_of_its_kind() -> None:
    assert [row.trial for row in build_leaderboard([record(0, scores=(math.nan,)), record(1)], None).rows] == [1, 0]


def test_only_what_varies_has_a_column_and_a_part_not_played_counts() -> None:
    assignments: list[dict[str, Any]] = [{"a": 1, "b": 1, "c": True}, {}, {"a": 1, "b": 2, "x": 3, "c": True}]
    assert varying_paths(assignments) == ("b", "x")
    assert varying_paths([{"a": 1}, {"a": True}]) == ("a",)
    assert varying_paths([]) == ()


def test_conditional_dimensions_stand_behind_their_condition() -> None:
    assert varying_paths([{"on": 1, "z": 1}, {"on": 2, "weight": 5, "z": 2}]) == ("on", "weight", "z")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["optimizer.lr"], ["lr"]),
        (["heads.*.dropout", "encoder.dropout", "optimizer.lr"], ["heads.dropout", "encoder.dropout", "lr"]),
        (["objective.smart.enabled", "objective.smart.weights.*"], ["smart.enabled", "smart.weights"]),
        (["a.b.c", "x.b.c"], ["a.b.c", "x.b.c"]),
        (["heads.*.x", "heads.x"], ["heads.*.x", "heads.x"]),
    ],
)
def test_short_names(paths: list[str], names: list[str]) -> None:
    assert short_names(paths) == names


def test_no_short_name_is_that_of_a_score() -> None:
    paths = ["objective.contrastive.weights.sts", "objective.contrastive.weights.qqp", "heads.sts.pooling", "lr.sst"]
    names = ["contrastive.weights.sts", "contrastive.weights.qqp", "pooling", "lr.sst"]
    assert short_names(paths, taken=("sst", "qqp", "sts")) == names


@given(st.lists(st.lists(st.sampled_from("abc*"), min_size=1, max_size=4).map(".".join), unique=True, max_size=6))
def test_short_names_differ(paths: list[str]) -> None:
    assert len(set(short_names([f"{path}.end" for path in paths]))) == len(paths)


def test_full_budget_comes_from_the_configs_then_the_base_then_a_complete_trial() -> None:
    complete = record(0, scores=(0.1, 0.2))
    with_config = TrialRecord(1, "running", {}, {"budget_examples": 900}, ())
    assert full_budget_examples({}, [complete, with_config]) == 900
    assert full_budget_examples({"base": {"budget_examples": 500}}, [complete]) == 500
    assert full_budget_examples({"base": {"budget_examples": None}}, [complete]) == 200
    assert full_budget_examples({}, []) is None
    shorter = replace(with_config, config={"budget_examples": 100})
    assert full_budget_examples({"base": {"budget_examples": 500}}, [with_config, shorter]) is None, "rows of a study"


def test_values_have_three_digits_and_a_dash_where_there_is_none() -> None:
    records = [
        record(0, lr=0.000123456, on=True),
        record(1, lr=3e-5, on=False, width=128),
        record(2, "failed", (), lr=1.0, on=True),
    ]
    lines = plain(build_leaderboard(records, 100)).splitlines()
    assert squeezed(lines[0]) == "# trial score sst qqp sts budget state seconds lr on width"
    assert squeezed(lines[1]) == "1 0 0.5000 0.400 0.600 0.250 100% complete 2 0.000123 true -"
    assert squeezed(lines[2]) == "2 1 0.5000 0.400 0.600 0.250 100% complete 2 3e-05 false 128"
    assert squeezed(lines[3]) == "- 2 - - - - 0% failed:diverged 0 1 true -"


def squeezed(line: str) -> str:
    return " ".join(line.split())


def test_columns_of_plain_text_stand_under_their_names() -> None:
    lines = plain(build_leaderboard([record(n, k="a" * n + "b", n=10**n) for n in range(3)], 100)).splitlines()[:4]
    assert {line.index("complete") for line in lines[1:]} == {lines[0].index("state")}
    assert {match.end() for line in lines[1:] if (match := re.search(r"\b10*$", line))} == {len(lines[0])}


def test_the_best_config_can_be_typed_as_it_is_printed() -> None:
    values = {"optimizer.lr": 3.123456789e-5, "objective.smart.enabled": False, "heads.*.kind": "mlp", "data.batch_size": 8}
    text = plain(build_leaderboard([record(0, scores=(0.5,)), record(1, scores=(0.9,), **values)], 100))
    printed = [line.strip() for line in text.partition("Best config (trial 1):\n")[2].splitlines()]
    assert parse_assignments(printed) == values


def test_a_leader_without_its_full_budget_is_called_so() -> None:
    text = plain(build_leaderboard([record(0, "stopped", a=1)], 100))
    assert "so far, without its full budget" in text


def test_hidden_rows_and_states_are_counted() -> None:
    records = [record(n, state) for n, state in enumerate(STATES)]
    text = plain(build_leaderboard(records, 100), top=2)
    assert "5 trials: 1 complete, 1 running, 1 interrupted, 1 stopped, 1 failed (3 not shown)" in text
    assert RANKING in text
    assert build_leaderboard(records, 100).counts == dict.fromkeys(STATES, 1)


def test_markup_in_a_value_is_printed_as_it_is() -> None:
    leaderboard = build_leaderboard([record(0, x="[bold]"), record(1, x="[/]")], 100)
    assert "[bold]" in rendered(leaderboard, 100)
    assert "x=[bold]" in plain(leaderboard)


def rendered(leaderboard: Leaderboard, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(render(leaderboard, width), highlight=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trials: complete, stopped, and one that nobody drives any more."""
    folder = tmp_path_factory.mktemp("search")
    base = TrialConfig.parse({"encoder": {"name": "tiny"}, "budget_examples": 300, "optimizer": {"warmup_fraction": 0.1}})
    ledger = Ledger.create(folder, {"name": "night1", "base": base.to_tree(), "ended": None})
    sampler = RandomSampler(seed=1)
    for number, num_reports in enumerate((3, 1, 1)):
        ledger.ask(SPACE, base, sampler, {"seed": 1})
        for i in range(num_reports):
            ledger.report(number, report(100 * (i + 1), 0.5 + 0.1 * i))
    ledger.tell(0, "complete")
    ledger.tell(1, "stopped")
    return folder


def run(*args: str) -> tuple[int, str, str]:
    import typer

    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, list(args))
    return result.exit_code, result.stdout, result.stderr


def test_json_holds_the_numbers_of_the_ledger(search: Path) -> None:
    code, out, _ = run(str(search), "--json", "--top", "2")
    tree = json.loads(out)
    assert code == 0
    assert [(row["trial"], row["state"], row["budget_share"]) for row in tree["rows"]] == [
        (0, "complete", 1.0),
        (1, "stopped", pytest.approx(1 / 3)),
    ]
    assert tree["counts"] == {"complete": 1, "stopped": 1, "interrupted": 1}
    assert tree["full_budget"] == 300
    assert tree["best"] == Ledger.open(search).record(0).assignment


def test_a_pipe_gets_plain_text_and_a_terminal_tables(search: Path) -> None:
    pipe, terminal = (Console(file=io.StringIO(), width=90, force_terminal=t, color_system=None) for t in (False, True))
    for console in (pipe, terminal):
        print_leaderboard(search, console)
    texts = [console.file.getvalue() for console in (pipe, terminal) if isinstance(console.file, io.StringIO)]
    assert run(str(search))[1] == texts[0] == run(str(search), "--plain")[1]
    assert "─" not in texts[0]
    assert "─" in texts[1]


def test_where_there_is_no_search_one_line_says_so(tmp_path: Path) -> None:
    code, out, err = run(str(tmp_path))
    assert (code, out) == (2, "")
    assert err.splitlines() == [f"error: {tmp_path}: no search stands here (there is no study.db)"]
    (tmp_path / "study.db").write_text("no database")
    code, _, err = run(str(tmp_path))
    assert code == 2
    assert len(err.splitlines()) == 1


def test_the_command_imports_neither_torch_nor_ray_nor_mlflow(search: Path) -> None:
    code = "import sys, runpy; sys.argv[1:] = [sys.argv[1], '--json']\n"
    code += "try: runpy.run_module('reports.leaderboard', run_name='__main__')\nexcept SystemExit as e: assert not e.code\n"
    code += "print([m for m in ('torch', 'ray', 'mlflow', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, str(search)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
