"""Row 14: what reports no number, or not all of them, is ended at once, never wins, and leaves no Optuna trial running."""

from pathlib import Path

import optuna
import pytest

from tests.end_to_end.conftest import QUICK, Bench
from tests.faults.scorecard import first_if_quick
from tests.faults.simulated_search import FAULTY, NUM_TRIALS, REPORTS, run_in
from tuner.ledger import Ledger
from tuner.ledger_places import LEDGER_FILE
from tuner.records import rank

pytestmark = [pytest.mark.row(14, "reports without a number, or not all of them; a loss that explodes"), pytest.mark.faults]


def states_in_optuna(folder: Path) -> list[str]:
    """As Optuna itself reads them."""
    [study] = optuna.get_all_study_summaries(storage=f"sqlite:///{folder / LEDGER_FILE}")
    trials = optuna.load_study(storage=f"sqlite:///{folder / LEDGER_FILE}", study_name=study.study_name).trials
    return [trial.state.name for trial in trials]


@pytest.mark.parametrize("fault", first_if_quick(REPORTS))
def test_a_broken_report_ends_its_trial(fault: str, tmp_path: Path) -> None:
    reason = "error" if fault == "missing" else "diverged"
    run_in(tmp_path, fault)
    records = Ledger.open(tmp_path).records()
    failed = records[FAULTY]
    assert (failed.state, failed.reason, len(failed.reports)) == ("failed", reason, 1)
    assert next(iter(REPORTS[fault])) in failed.detail
    others = [record for record in records if record.number != FAULTY]
    assert [record.state for record in others] == ["complete"] * (NUM_TRIALS - 1)
    assert FAULTY not in [record.number for record in rank(records)]
    assert sorted(states_in_optuna(tmp_path)) == ["COMPLETE"] * (NUM_TRIALS - 1) + ["FAIL"]


def test_a_loss_that_explodes_is_never_exported(bench: Bench) -> None:
    (bench.folder / "space.yaml").write_text("dimensions:\n  optimizer.head_lr_scale: {choices: [1.0, 10000.0]}\n")
    done = bench.run(
        *("tuner.search", "--data", bench.data, *QUICK, "--space", "space.yaml", "--searcher", "grid", "--trials", "2"),
        *("--budget", "540", "--out", "runs/x", "--early-stopping", "none"),
        *("--set", "optimizer.lr=0.01", "--set", "optimizer.max_grad_norm=null"),
    )
    assert done.code == 0, done.err
    exploded = [record for record in bench.records("x") if record.assignment["optimizer.head_lr_scale"] == 1e4]
    assert [(record.state, record.reason) for record in exploded] == [("failed", "diverged")]
    assert len(exploded[0].reports) < 2
    assert f"exported trial {1 - exploded[0].number} " in done.out
    assert "RUNNING" not in states_in_optuna(bench.folder / "runs" / "x")
