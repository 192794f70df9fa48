import os
import shutil
import time
from pathlib import Path

import pytest

from tests.damages import empty, flip_bit
from tests.s3_server import S3Server
from tests.trainables.curves import plain
from tests.trainables.test_session import finish
from trainables import heartbeat
from trainables.config import TrialConfig
from trainables.session import TrialSession
from trainables.steps import Metrics
from trainables.storage import DamagedError, Storage, StorageError
from trainables.stored_trial import ABANDONED_SECONDS, StoredTrial, bring_teachers, remove_abandoned, working_folder


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> str:
    return f"file://{tmp_path}/storage/0007" if request.param == "file" else s3.at(f"trials/{tmp_path.name}/0007")


def stored(uri: str) -> StoredTrial:
    return StoredTrial(Storage(uri), patience_seconds=0)


def test_a_trial_goes_on_on_another_machine(small_config: TrialConfig, tmp_path: Path, uri: str, curve: list[Metrics]) -> None:
    for report in (1, 2, 3):
        machine = tmp_path / f"machine{report}"
        session = TrialSession(small_config, machine, stored=stored(uri))
        assert (session.resumed_from is not None) == (report > 1)
        session.next_report()
        session.close()
    assert [plain(metrics) for metrics in session.trainer.history] == curve
    assert Storage(uri).sealed("checkpoints") == ["report-0002", "report-0003"]
    assert stored(uri).best_score() == session.best["score"]
    assert stored(uri).look_over() == (3, [])
    assert (stored(uri).log() or b"").decode().count("goes on from") == 1  # each machine's own


def test_what_this_machine_has_is_not_fetched(small_config: TrialConfig, tmp_path: Path, uri: str) -> None:
    session = TrialSession(small_config, tmp_path / "here", stored=stored(uri))
    session.next_report()
    session.close()
    assert stored(uri).bring_newest(tmp_path / "here" / "checkpoints") == (False, [])
    Storage(uri).remove("checkpoints")
    again = TrialSession(small_config, tmp_path / "here", stored=stored(uri))
    assert again.resumed_from is not None
    assert Storage(uri).sealed("checkpoints") == ["report-0001"]  # what the storage has lost is there again


@pytest.mark.parametrize("damage", [flip_bit, empty])
def test_a_damaged_checkpoint_is_passed_over_and_told(
    small_config: TrialConfig, tmp_path: Path, curve: list[Metrics], damage: object
) -> None:
    import random

    uri = f"file://{tmp_path}/storage"
    session = TrialSession(small_config, tmp_path / "one", stored=stored(uri))
    session.next_report()
    session.next_report()
    session.close()
    damage(tmp_path / "storage" / "checkpoints" / "report-0002" / "optimizer.safetensors", random.Random(1))  # type: ignore[operator]
    other = TrialSession(small_config, tmp_path / "two", stored=stored(uri))
    assert other.resumed_from is not None and other.resumed_from.name == "report-0001"
    report = other.next_report(known=2)
    assert "report-0002/optimizer.safetensors" in report["passed_over"][0]
    other.close()
    assert [plain(metrics) for metrics in other.trainer.history] == curve
    third = TrialSession(small_config, tmp_path / "three", stored=stored(uri))
    assert third.done


def test_a_worker_that_returns_takes_nothing_back(
    small_config: TrialConfig, tmp_path: Path, uri: str, curve: list[Metrics]
) -> None:
    stale = TrialSession(small_config, tmp_path / "stale", stored=stored(uri))
    stale.next_report()
    other = TrialSession(small_config, tmp_path / "other", stored=stored(uri))
    finish(other)
    best = stored(uri).best_score()
    stale.next_report()
    stale.close()
    assert Storage(uri).sealed("checkpoints") == ["report-0002", "report-0003"]
    assert stored(uri).best_score() == best == other.best["score"]
    assert TrialSession(small_config, tmp_path / "third", stored=stored(uri)).done


def test_a_storage_that_fails_costs_no_report_that_stands(
    small_config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curve: list[Metrics]
) -> None:
    uri = f"file://{tmp_path}/storage"
    session = TrialSession(small_config, tmp_path / "one", stored=stored(uri))
    session.next_report()
    session.close()
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "_write", lambda *_args: (_ for _ in ()).throw(OSError("down")))
        session.next_report()
        with pytest.raises(StorageError, match="the storage cannot be used: down"):
            session.next_report()
    other = TrialSession(small_config, tmp_path / "two", stored=stored(uri))
    assert other.resumed_from is not None and other.resumed_from.name == "report-0001"
    assert finish(other) == curve


def test_the_best_model_is_stored_again_by_who_finds_none(small_config: TrialConfig, tmp_path: Path, uri: str) -> None:
    session = TrialSession(small_config, tmp_path / "one", stored=stored(uri))
    finish(session)
    session.close()
    assert session.best == session.trainer.history[-1]
    Storage(uri).remove("best")
    assert stored(uri).best_score() is None
    assert stored(uri).bring_best(tmp_path / "export") is None
    TrialSession(small_config, tmp_path / "two", stored=stored(uri))
    assert stored(uri).best_score() == session.best["score"]
    assert stored(uri).bring_best(tmp_path / "export") == tmp_path / "export" / "best"


def test_a_teacher_is_fetched(small_config: TrialConfig, tmp_path: Path, uri: str) -> None:
    session = TrialSession(small_config, tmp_path / "one", stored=stored(uri))
    finish(session)
    session.close()
    tree = small_config.to_tree()
    assert bring_teachers(tree, tmp_path / "work") is tree
    tree["objective"]["distill"]["teachers"] = {"sst": uri, "qqp": "/an/export", "sts": None}
    brought = bring_teachers(tree, tmp_path / "work")["objective"]["distill"]["teachers"]
    assert brought == {"sst": str(tmp_path / "work" / "teachers" / "sst" / "best"), "qqp": "/an/export", "sts": None}
    assert (Path(brought["sst"]) / "heads.safetensors").is_file()
    assert tree["objective"]["distill"]["teachers"]["sst"] == uri
    stored(uri).remove("best")
    with pytest.raises(FileNotFoundError, match="the model that teaches is not there"):
        bring_teachers(tree, tmp_path / "other")


def test_a_damaged_model_is_told(small_config: TrialConfig, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/storage"
    session = TrialSession(small_config, tmp_path / "one", stored=stored(uri))
    session.next_report()
    session.close()
    (tmp_path / "storage" / "best" / "report-0001" / "heads.safetensors").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"best/report-0001/heads\.safetensors"):
        stored(uri).bring_best(tmp_path / "export")
    assert not (tmp_path / "export" / "best").exists()
    num_good, [problem] = stored(uri).look_over()
    assert num_good == 1 and "heads.safetensors" in problem


def test_a_trial_works_in_its_folder_or_on_this_machine(tmp_path: Path) -> None:
    order = {"folder": str(tmp_path / "trials" / "0007")}
    assert working_folder(order) == tmp_path / "trials" / "0007"
    one, other = (working_folder({**order, "storage": f"s3://b/{name}/trials/0007?region=x"}) for name in ("one", "other"))
    assert one != other and one.name.endswith("-0007") and one.parent == other.parent
    assert Path(os.environ["TRITUNE_CACHE"]) in one.parents


@pytest.mark.parametrize(("age", "stays"), [(ABANDONED_SECONDS / 2, True), (ABANDONED_SECONDS + 1, False), (-1e6, False)])
def test_what_killed_workers_left_goes_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, stays: bool
) -> None:
    heartbeat.begin(tmp_path / "theirs")
    heartbeat.end()
    (tmp_path / "no-beat").mkdir()
    (tmp_path / "mine").mkdir()
    now = time.monotonic()
    monkeypatch.setattr("trainables.stored_trial.time.monotonic", lambda: now + age)
    remove_abandoned(tmp_path / "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"no-beat", "mine", *(["theirs"] if stays else [])}
    shutil.rmtree(tmp_path)
