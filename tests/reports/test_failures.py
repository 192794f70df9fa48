from pathlib import Path

from reports.failures import failures
from tests import synthetic
from tuner.records import TrialRecord
from tuner.search_folder import trial_folder


def test_failures_are_counted_by_reason_with_the_logs_that_are_there(tmp_path: Path) -> None:
    log = trial_folder(tmp_path, 2) / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("what happened")
    records = [
        TrialRecord(0, "complete", {}, {}, ()),
        TrialRecord(1, "failed", {}, {}, (), reason="hung", detail="no step"),
        TrialRecord(2, "failed", {}, {}, ({"budget": 70, "score": 0.1},), reason="diverged"),
        TrialRecord(3, "failed", {}, {}, (), reason="diverged"),
    ]
    found = failures(records, tmp_path)
    assert found.num_trials == 4
    assert found.by_reason == (("diverged", 2), ("hung", 1))
    assert [(one.trial, one.detail, one.budget) for one in found.trials] == [(1, "no step", 0), (2, "", 70), (3, "", 0)]
    assert found.trials[1].logs == (Path("trials/0002/log.txt"),)
    assert found.trials[0].logs == ()


def test_a_training_that_confirms_may_fail_too(tmp_path: Path) -> None:
    lost = synthetic.confirming(0, None, 0.5)
    failed = TrialRecord(**{**lost.__dict__, "state": "failed", "reason": "lost"})
    assert failures([failed], tmp_path).by_reason == (("lost", 1),)
