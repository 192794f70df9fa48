import errno
import json
import shutil
import time
from pathlib import Path

import pytest

from tests.trainables.curves import plain
from trainables.checkpoints import checkpoints, newest_good, verify
from trainables.config import TrialConfig
from trainables.data.tokens import tokenise
from trainables.evaluation import evaluate
from trainables.model.files import load_model
from trainables.session import TrialSession
from trainables.steps import Metrics


def finish(session: TrialSession) -> list[Metrics]:
    while not session.done:
        session.next_report()
    return [plain(metrics) for metrics in session.trainer.history]


def test_it_reports_what_the_trainer_reports_and_keeps_the_newest_two(
    small_config: TrialConfig, tmp_path: Path, curve: list[Metrics]
) -> None:
    session = TrialSession(small_config, tmp_path / "trial")
    assert session.resumed_from is None
    assert finish(session) == curve
    assert [folder.name for folder in checkpoints(tmp_path / "trial" / "checkpoints")] == ["report-0002", "report-0003"]
    assert (tmp_path / "trial" / "log.txt").read_text().count("report ") == 3


@pytest.mark.parametrize("stop", [1, 2])
def test_it_goes_on_where_it_was(small_config: TrialConfig, tmp_path: Path, curve: list[Metrics], stop: int) -> None:
    session = TrialSession(small_config, tmp_path)
    for _ in range(stop):
        session.next_report()
    again = TrialSession(small_config, tmp_path)
    assert again.resumed_from == tmp_path / "checkpoints" / f"report-000{stop}"
    assert finish(again) == curve


def test_a_checkpoint_ahead_of_the_caller_answers_from_its_history(
    small_config: TrialConfig, tmp_path: Path, curve: list[Metrics]
) -> None:
    session = TrialSession(small_config, tmp_path)
    session.next_report()
    session.next_report()
    again = TrialSession(small_config, tmp_path)
    first = plain(again.next_report(known=0))
    assert first.pop("applied") == session.trainer.applied is not None
    assert first == curve[0]
    assert plain(again.next_report(known=1)) == curve[1]
    assert len(again.trainer.history) == 2
    assert plain(again.next_report(known=2)) == curve[2]
    with pytest.raises(RuntimeError, match="all 3 reports are given"):
        again.next_report(known=3)


def test_a_report_is_the_same_whoever_gives_it(
    small_config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between a worker's report and the driver's note of it: another process, elsewhere, gives it again."""
    monkeypatch.setattr("platform.node", lambda: "one")
    monkeypatch.setattr("trainables.session.peak_memory_bytes", lambda: 100)
    session = TrialSession(small_config, tmp_path)
    given = [session.next_report() for _ in range(2)]
    assert [(report["host"], report["memory_bytes"]) for report in given] == [("one", 100)] * 2
    monkeypatch.setattr("platform.node", lambda: "two")
    monkeypatch.setattr("trainables.session.peak_memory_bytes", lambda: 200)
    again = TrialSession(small_config, tmp_path)
    assert [again.next_report(known=known) for known in range(2)] == given
    third = again.next_report(known=2)
    assert (third["host"], third["memory_bytes"]) == ("two", 200)


def test_a_checkpoint_behind_the_caller_catches_up(small_config: TrialConfig, tmp_path: Path, curve: list[Metrics]) -> None:
    session = TrialSession(small_config, tmp_path)
    assert plain(session.next_report(known=2)) == curve[2]


def test_a_damaged_newest_one_is_passed_over_and_logged(small_config: TrialConfig, tmp_path: Path, curve: list[Metrics]) -> None:
    session = TrialSession(small_config, tmp_path)
    session.next_report()
    session.next_report()
    (tmp_path / "checkpoints" / "report-0002" / "heads.safetensors").write_bytes(b"torn")
    said: list[str] = []
    again = TrialSession(small_config, tmp_path, say=said.append)
    assert again.resumed_from == tmp_path / "checkpoints" / "report-0001"
    assert "heads.safetensors" in said[0]
    report = again.next_report()
    [told] = report.pop("passed_over")
    assert told in said[0] and plain(report) == curve[1]
    assert "passed_over" not in again.next_report()


@pytest.mark.parametrize("name", ["manifest.json", "metrics.json"])
def test_a_damaged_best_model_is_named_where_it_goes_on(small_config: TrialConfig, tmp_path: Path, name: str) -> None:
    """Nothing else would look at it before it is to be exported."""
    session = TrialSession(small_config, tmp_path)
    session.next_report()
    (session.best_folder / name).write_bytes(b"")
    said: list[str] = []
    again = TrialSession(small_config, tmp_path, say=said.append)
    assert any(f"passed over: {session.best_folder / name}" in line for line in said)
    assert any(str(session.best_folder / name) in line for line in again.next_report()["passed_over"])
    assert "passed_over" not in again.next_report()


def test_best_is_the_model_of_the_best_report_and_scores_it(small_config: TrialConfig, tmp_path: Path) -> None:
    session = TrialSession(small_config.override({"budget_examples": 240, "num_reports": 8, "early_dev_share": 1.0}), tmp_path)
    finish(session)
    best = max(session.trainer.history, key=lambda metrics: metrics["score"])
    assert session.best == best
    assert json.loads((session.best_folder / "metrics.json").read_text()) == best
    assert verify(session.best_folder) == []
    config, model = load_model(session.best_folder)
    scores = evaluate(model, tokenise(config.data, config.encoder)).metrics
    assert scores == {key: best[key] for key in scores}


def test_best_holds_the_model_and_no_state_of_training(small_config: TrialConfig, tmp_path: Path) -> None:
    session = TrialSession(small_config.override({"objective.bregman.mu": 1.0}), tmp_path)
    session.next_report()
    state = {"optimizer.safetensors", "generators.safetensors", "teacher.safetensors", "state.json"}
    in_checkpoint, in_best = (
        {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "checkpoints" / "report-0001", session.best_folder)
    )
    assert state <= in_checkpoint
    assert in_best == in_checkpoint - state | {"metrics.json"}


def test_best_is_made_again_after_a_kill_before_it_was(small_config: TrialConfig, tmp_path: Path) -> None:
    session = TrialSession(small_config, tmp_path)
    session.next_report()
    shutil.rmtree(session.best_folder)
    TrialSession(small_config, tmp_path)
    assert verify(session.best_folder) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda best: (best / "metrics.json").write_text("{"),
        lambda best: (best / "metrics.json").write_bytes(b"\xff"),
        lambda best: (best / "metrics.json").unlink(),
        lambda best: (best / "manifest.json").write_text(""),
        lambda best: (best / "heads.safetensors").unlink(),
    ],
)
def test_a_damaged_best_is_made_again(small_config: TrialConfig, tmp_path: Path, damage) -> None:
    session = TrialSession(small_config, tmp_path)
    session.next_report()
    damage(session.best_folder)
    again = TrialSession(small_config, tmp_path)
    assert verify(session.best_folder) == []
    assert json.loads((again.best_folder / "metrics.json").read_text()) == again.best


def test_the_newest_checkpoint_and_best_are_on_the_disk_before_the_last_report_and_when_it_goes_on(
    small_config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: list[str] = []

    def slow_sync(folder: Path) -> None:
        time.sleep(0.05)
        on_disk.append(folder.name)

    monkeypatch.setattr("trainables.session.sync_checkpoint", slow_sync)
    session = TrialSession(small_config.override({"num_reports": 1}), tmp_path)
    session.next_report()
    assert on_disk == ["report-0001", "best"]
    TrialSession(session.trainer.config, tmp_path)
    assert on_disk == ["report-0001", "best", "report-0001"]
    shutil.rmtree(session.best_folder)
    TrialSession(session.trainer.config, tmp_path)
    assert on_disk[3:] == ["report-0001", "best"]


def test_changed_data_or_encoder_is_refused_before_anything_is_written(small_config: TrialConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sts-dev\.csv: the data have changed: sha256 was none, is [0-9a-f]{64}"):
        TrialSession(small_config, tmp_path / "trial", data_hashes={})
    with pytest.raises(ValueError, match=r"model\.safetensors: the weights have changed: sha256 was 0ld, is [0-9a-f]{64}"):
        TrialSession(small_config, tmp_path / "trial", encoder_sha256="0ld")
    assert not (tmp_path / "trial").exists()


def test_best_takes_no_room_of_its_own(small_config: TrialConfig, tmp_path: Path) -> None:
    session = TrialSession(small_config, tmp_path)
    session.next_report()
    name = Path("encoder") / "model.safetensors"
    newest = newest_good(tmp_path / "checkpoints")
    assert newest is not None
    assert (newest / name).stat().st_ino == (session.best_folder / name).stat().st_ino
    assert not (session.best_folder / "optimizer.safetensors").exists()


def test_a_disk_that_fails_in_the_background_is_told_at_the_next_report(
    small_config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, f"{folder.name} cannot be written")

    monkeypatch.setattr("trainables.session.sync_checkpoint", fail)
    session = TrialSession(small_config, tmp_path)
    session.next_report()
    with pytest.raises(OSError, match="report-0001 cannot be written"):
        session.next_report()


def test_the_checkpoint_before_stays_until_the_newest_is_on_the_disk(
    small_config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: list[str] = []
    monkeypatch.setattr("trainables.session.sync_checkpoint", lambda folder: on_disk.append(folder.name))
    session = TrialSession(small_config.override({"num_reports": 9}), tmp_path)
    for number in range(2, 10):
        session.next_report()
        if number > 2:
            assert (tmp_path / "checkpoints" / f"report-{number - 2:04d}").is_dir()
            assert f"report-{number - 2:04d}" in on_disk


def test_a_folder_of_another_config_is_refused(small_config: TrialConfig, tmp_path: Path) -> None:
    TrialSession(small_config, tmp_path).next_report()
    with pytest.raises(ValueError, match="config seed: 7, 8"):
        TrialSession(small_config.override({"seed": 8}), tmp_path)


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_session_whose_trial_another_has_writes_nothing_more(small_config: TrialConfig, tmp_path: Path, nth: int) -> None:
    """Whenever it finds that out: before it begins, before it writes, before what it wrote gets its name."""
    num_checks, seen = 0, []

    def check() -> None:
        nonlocal num_checks
        num_checks += 1
        if num_checks >= nth:
            seen.append(state_of(tmp_path))
            raise RuntimeError("another has it")

    with pytest.raises(RuntimeError, match="another has it"):
        finish(TrialSession(small_config, tmp_path, check=check))
    assert len(seen) == 1
    assert {name: content for name, content in seen[0].items() if ".aside-" not in name} == state_of(tmp_path)


def state_of(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
