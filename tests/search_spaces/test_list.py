import yaml
from typer.testing import CliRunner

from search_spaces.list import app, cost
from search_spaces.registry import SPACES, STUDIES
from trainables.config import TrialConfig


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_all_spaces_and_studies_are_listed_with_their_rows_and_cost() -> None:
    code, out, _ = run()
    assert code == 0
    for name in [*SPACES, *STUDIES]:
        assert name in out
    assert "516,816 examples" in out


def test_cost_is_counted_in_runs_of_the_longest_row() -> None:
    assert cost(STUDIES["studentbert.smart_lambda"]) == 6
    assert 1.5 < cost(STUDIES["best_fit.schedules"]) < 1.6, "three rows of 96,000 examples beside one of 516,816"


def test_the_rows_of_a_study_stand_with_what_the_paper_printed() -> None:
    code, out, _ = run("studentbert.model_merging")
    assert code == 0
    assert "SIAR + RR + MM" in out and "0.794" in out and "teacher of sst: teacher_sst" in out
    assert "differs from the paper: " in out


def test_a_row_s_whole_config_can_be_trained() -> None:
    code, out, _ = run("best_fit.regularization", "--row", "pcgrad")
    assert code == 0
    config = TrialConfig.parse(yaml.safe_load(out))
    assert config.balancing.gradients == "pcgrad" and config.budget_examples == 96_000


def test_mistakes_are_told() -> None:
    assert run("best_fit.scedules")[::2] == (
        2,
        "--study: 'best_fit.scedules' is no study (did you mean best_fit.schedules?); python -m search_spaces.list shows them\n",
    )
    code, _, errors = run("best_fit.pooling", "--row", "median")
    assert code == 2 and "'median' is no row of best_fit.pooling; rows are cls, mean, max, attention" in errors
    assert run("--row", "cls")[0] == 2
