"""Row 4 again: a worker that is killed while Tune hands it its next trial, which Tune does not start a second time."""

from pathlib import Path

import pytest

from tests.faults.simulated_search import HANDED_OVER, NUM_REPORTS, NUM_TRIALS, run_in
from tuner.ledger import Ledger
from tuner.search_folder import trial_folder


@pytest.mark.row(4, "a trial's process killed while Tune hands it the trial")
@pytest.mark.faults
def test_trial_whose_worker_dies_as_it_is_handed_over_is_not_lost(tmp_path: Path) -> None:
    run_in(tmp_path, "handed over")
    records = Ledger.open(tmp_path).records()
    assert [record.state for record in records] == ["complete"] * NUM_TRIALS
    assert {len(record.reports) for record in records} == {NUM_REPORTS}
    assert (trial_folder(tmp_path, HANDED_OVER) / "starts").read_text() == "started\n" * 2
