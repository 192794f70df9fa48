import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from typer.testing import CliRunner

from reports.beside_paper import compare, departures_of_search, plain, rank_correlation
from reports.leaderboard import app
from search_spaces.space import Space
from search_spaces.study import ROW, SEED, Study, StudyRow, study_space
from trainables.config import TrialConfig
from tuner.ledger import Ledger
from tuner.records import TrialRecord

BASE = TrialConfig.parse({"encoder": {"name": "tiny"}, "num_reports": 1, "budget_examples": 100})
STUDY = Study(
    "paper.table",
    "A table",
    "paper 1",
    tuple(
        StudyRow(name, name.title(), {"optimizer.lr": lr}, {"sst_accuracy": printed, "overall": printed + 0.1})
        for name, lr, printed in (("one", 1e-5, 0.4), ("two", 2e-5, 0.5), ("three", 3e-5, 0.3))
    ),
    overall="mean_score",
    departures=("nothing is as it was",),
)


def trial(number: int, row: str, sst: float, state: Any = "complete") -> TrialRecord:
    report = {"report": 1, "budget": 100, "score": 0.9, "mean_score": sst / 2, "sst_accuracy": sst, "train_seconds": 1.0}
    return TrialRecord(number, state, {SEED: 0, ROW: row}, {}, (report,))


def test_figures_are_means_over_complete_trials() -> None:
    records = [trial(0, "one", 0.2), trial(1, "one", 0.4), trial(2, "two", 0.1, "interrupted"), trial(3, "three", 0.6)]
    one, two, three = compare(STUDY, records).rows
    assert one.ours == {"sst_accuracy": (0.2, 0.4), "overall": (0.1, 0.2)}
    assert one.mean("sst_accuracy") == pytest.approx(0.3) and one.num_trials == 2
    assert two.mean("sst_accuracy") is None and two.num_trials == 0
    assert three.mean("overall") == pytest.approx(0.3), "overall is the metric that the study names"


def test_the_order_of_rows_is_compared() -> None:
    same = compare(STUDY, [trial(0, "one", 0.2), trial(1, "two", 0.3), trial(2, "three", 0.1)])
    assert same.rank_correlation == {"sst_accuracy": pytest.approx(1.0), "overall": pytest.approx(1.0)}
    reversed_ = compare(STUDY, [trial(0, "one", 0.2), trial(1, "two", 0.1), trial(2, "three", 0.3)])
    assert reversed_.rank_correlation["sst_accuracy"] == pytest.approx(-1.0)


def test_too_few_rows_and_constant_figures_have_no_order() -> None:
    few = compare(STUDY, [trial(0, "one", 0.2), trial(1, "two", 0.3)])
    assert few.rank_correlation["sst_accuracy"] is None and few.num_ranked["sst_accuracy"] == 2
    constant = compare(STUDY, [trial(i, row.name, 0.2) for i, row in enumerate(STUDY.rows)])
    assert constant.rank_correlation["sst_accuracy"] is None
    assert "not told" in plain(constant)


def test_the_spread_between_seeds_is_the_root_mean_variance() -> None:
    records = [trial(0, "one", 0.1), trial(1, "one", 0.3), trial(2, "two", 0.2), trial(3, "two", 0.2), trial(4, "three", 0.5)]
    assert compare(STUDY, records).seed_spread["sst_accuracy"] == pytest.approx(math.sqrt(0.02 / 2))


def test_the_spread_is_that_of_rows_that_the_paper_has() -> None:
    """A row of one task has figures of the others, too, which it never learnt."""
    rows = (*STUDY.rows, replace(STUDY.rows[0], name="four", printed={"overall": 0.2}))
    records = [trial(0, "one", 0.2), trial(1, "one", 0.2), trial(2, "four", 0.1), trial(3, "four", 0.9)]
    assert compare(replace(STUDY, rows=rows), records).seed_spread["sst_accuracy"] == 0


def test_equal_means_are_equal_whatever_their_last_bit() -> None:
    first, second = (0.7, 0.2), (0.8, 0.1)
    assert statistics.fmean(first) != statistics.fmean(second)
    records = [trial(i, row, figure) for row, both in (("one", first), ("two", second)) for i, figure in enumerate(both)]
    one, two, _ = compare(STUDY, records).rows
    assert one.mean("sst_accuracy") == two.mean("sst_accuracy")


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8))
def test_rank_correlation_sees_order_alone(pairs: list[tuple[float, float]]) -> None:
    value = rank_correlation(pairs)
    assert value is None or -1.0000001 <= value <= 1.0000001
    stretched = rank_correlation([(10 * one, other) for one, other in pairs])
    assert stretched == (None if value is None else pytest.approx(value))


def test_equal_values_share_their_rank() -> None:
    assert rank_correlation([(1, 1), (2, 2), (2, 3)]) == pytest.approx(0.8660254)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    space = study_space(STUDY, 1)
    ledger = Ledger.create(tmp_path, {"space": space.to_tree(), "base": BASE.to_tree(), "settings": {}})
    ledger.enqueue(list(space.grid(BASE)))
    for row in STUDY.rows:
        number = ledger.ask(space, BASE, RandomSampler(seed=0), {"seed": 0}).number
        ledger.report(number, trial(number, row.name, 0.1 * (number + 1)).reports[0])
        ledger.tell(number, "complete")
    return tmp_path


def test_the_command_reads_the_ledger_alone(folder: Path) -> None:
    result = CliRunner().invoke(app, [str(folder), "--beside-paper"])
    assert result.exit_code == 0
    assert "paper.table: A table (paper 1)" in result.stdout
    assert "sst_accuracy: -0.50 over 3 rows" in result.stdout
    assert "differs from the paper: nothing is as it was" in result.stdout
    tree = json.loads(CliRunner().invoke(app, [str(folder), "--beside-paper", "--json"]).stdout)
    assert [row["title"] for row in tree["rows"]] == ["One", "Two", "Three"]
    assert tree["rank_correlation"]["sst_accuracy"] == pytest.approx(-0.5)


def test_a_search_without_a_study_has_no_paper(tmp_path: Path) -> None:
    Ledger.create(tmp_path, {"space": Space("toy", ()).to_tree()})
    result = CliRunner().invoke(app, [str(tmp_path), "--beside-paper"])
    assert result.exit_code == 2 and "this search has no study" in result.stderr


def test_a_table_keeps_the_paper_s_order() -> None:
    turned = replace(STUDY, rows=tuple(reversed(STUDY.rows)))
    assert [row.title for row in compare(turned, []).rows] == ["Three", "Two", "One"]


def test_what_the_search_itself_makes_differ_is_told() -> None:
    by_hand = {"optimizer.lr": 1e-4, "num_reports": 1}
    rows = (replace(STUDY.rows[0], examples=2_000_000), *STUDY.rows[1:])
    space = study_space(replace(STUDY, rows=rows), 1, by_hand)
    assert departures_of_search(space, {"budget_examples": 8000}) == [
        "the longest row sees 8,000 examples here, 2,000,000 there",
        "set by hand in every row: optimizer.lr=0.0001",
    ]
    assert departures_of_search(study_space(STUDY, 1), {"budget_examples": 8000}) == ["the longest row sees 8,000 examples here"]
    assert departures_of_search(study_space(replace(STUDY, rows=rows), 1), {"budget_examples": 2_000_000}) == []
