import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.tune import Trainable

from trainables import heartbeat
from trainables.attempts import SupersededError, as_next_attempt
from trainables.config import TrialConfig
from trainables.heartbeat import read_beat
from trainables.machine import this_machine
from trainables.session import TrialSession
from trainables.storage import Storage
from trainables.stored_trial import StoredTrial, working_folder
from trainables.trainable import (
    EXIT_UNUSABLE,
    FAILURE_KEY,
    NO_STORAGE,
    ORDER_KEY,
    REPORT_KEY,
    TrialTrainable,
    failure_reason,
    is_context_lost,
)


class AcceleratorError(RuntimeError):
    """Torch's name for what CUDA complains about."""


class OutOfMemoryError(RuntimeError):
    """Torch's name for a failed allocation."""


ASSERTED = AcceleratorError("CUDA error: device-side assert triggered")


@pytest.fixture(autouse=True)
def _only_a_worker_is_watched_and_killed_first(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("trainables.trainable.kill_me_first", lambda: None)
    yield
    heartbeat.end()


@pytest.fixture
def order(small_config: TrialConfig, tmp_path: Path) -> dict[str, Any]:
    return {"number": 0, "config": small_config.to_tree(), "folder": str(tmp_path / "0000"), "known_reports": 0}


def start(order: dict[str, Any]) -> TrialTrainable:
    """As a worker sees it, without Ray around it."""
    trainable: TrialTrainable = object.__new__(TrialTrainable)
    trainable.setup(as_config(order))
    return trainable


def as_config(order: dict[str, Any]) -> dict[str, Any]:
    return {"number": order["number"], ORDER_KEY: json.dumps(order)}


def failure(result: dict[str, Any]) -> dict[str, str]:
    return dict(json.loads(result[FAILURE_KEY]))


def test_it_reports_step_by_step_and_takes_the_next_trial(order: dict[str, Any], tmp_path: Path) -> None:
    trainable = start(order)
    assert [json.loads(trainable.step()[REPORT_KEY])["report"] for _ in range(2)] == [1, 2]
    assert trainable.reset_config(as_config({**order, "folder": str(tmp_path / "0001")}))
    assert json.loads(trainable.step()[REPORT_KEY])["report"] == 1
    assert (tmp_path / "0001" / "best").is_dir()


TIMES = ("seconds", "per_second", "memory_bytes")
OTHERS = (
    {"optimizer.name": "lion", "num_threads": 2, "encoder.pair_encoding": "bi", "heads.sst.kind": "mlp"},
    {
        "precision": "bf16",
        "objective.smart.enabled": True,
        "balancing.gradients": "pcgrad",
        "phases.0.task_schedule": "sum_of_losses",
    },
    {"optimizer.lr": 1.0, "optimizer.max_grad_norm": None},
    {"phases.0.trainable": "heads", "encoder.frozen_cache": "always", "seed": 5},
)


def reports_of(trainable: TrialTrainable, order: dict[str, Any]) -> list[dict[str, Any]]:
    """All reports, without how long they took; up to a failure."""
    assert trainable.reset_config(as_config(order))
    reports = []
    for _ in range(TrialConfig.parse(order["config"]).num_reports):
        result = trainable.step()
        if FAILURE_KEY in result:
            break
        reports.append({key: value for key, value in json.loads(result[REPORT_KEY]).items() if not key.endswith(TIMES)})
    return reports


def globals_of_torch() -> list[Any]:
    flags = torch.backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision(), torch.get_default_dtype()
    modes = torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu")
    return [*flags, *modes, torch.get_num_threads(), torch.get_rng_state().tolist()]


def test_a_trial_is_the_same_first_and_last_in_a_process(order: dict[str, Any], tmp_path: Path) -> None:
    """Whatever other trials the process has run in between, and however they ended."""
    trainable = start(order)
    first, state = reports_of(trainable, order), globals_of_torch()
    assert len(first) == TrialConfig.parse(order["config"]).num_reports
    for number, changes in enumerate(OTHERS):
        config = TrialConfig.parse(order["config"]).override(changes).to_tree()
        other = reports_of(trainable, {**order, "config": config, "folder": str(tmp_path / f"other{number}")})
        assert other != first
    assert globals_of_torch() == state
    assert reports_of(trainable, {**order, "folder": str(tmp_path / "last")}) == first


@pytest.mark.parametrize(
    ("hashes", "words"),
    [
        ({"data_hashes": {}}, "ids-sst-dev.csv: the data have changed: sha256 was none, is "),
        ({"encoder_sha256": "0ld"}, "model.safetensors: the weights have changed: sha256 was 0ld, is "),
    ],
)
def test_a_trial_on_changed_files_fails_with_their_names(hashes: dict[str, Any], words: str, order: dict[str, Any]) -> None:
    trainable = start({**order, **hashes})
    result = failure(trainable.step())
    assert result["reason"] == "error"
    assert words in result["detail"]
    assert words in (Path(order["folder"]) / "log.txt").read_text()


def test_a_folder_that_cannot_be_written_to_does_not_hide_what_went_wrong(order: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = failure(start({**order, "folder": str(tmp_path / "file" / "0000")}).step())
    assert result["reason"] == "error"
    assert result["detail"].startswith("NotADirectoryError")


@pytest.mark.parametrize(("error", "ends"), [(ASSERTED, True), (ValueError("no"), False), (OutOfMemoryError("CUDA"), False)])
def test_a_process_whose_device_is_lost_ends_at_the_next_trials_first_step(
    error: Exception, ends: bool, order: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    ended: list[int] = []
    trainable = start(order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrialSession, "next_report", fail)
        failure(trainable.step())
    monkeypatch.setattr("os._exit", ended.append)
    assert trainable.reset_config(as_config(order))
    assert ended == []
    trainable.step()
    assert ended == ([EXIT_UNUSABLE] if ends else [])


def test_a_trial_without_memory_goes_on_with_half_as_many_examples_at_once(
    order: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int | None] = []
    real = TrialSession.next_report

    def next_report(session: TrialSession, known: int | None = None) -> dict[str, Any]:
        at_once.append(session.trainer.config.data.micro_batch_size)
        if len(at_once) == 2:
            raise OutOfMemoryError("CUDA out of memory")
        return real(session, known)

    monkeypatch.setattr(TrialSession, "next_report", next_report)
    trainable = start(order)
    first = json.loads(trainable.step()[REPORT_KEY])
    assert failure(trainable.step())["reason"] == "out_of_memory"
    second = json.loads(trainable.step()[REPORT_KEY])
    assert (first["report"], second["report"]) == (1, 2)
    assert at_once == [None, None, -(-order["config"]["data"]["batch_size"] // 2)]


@pytest.mark.parametrize(
    ("is_here", "is_there", "kills", "age", "killed"),
    [
        (True, False, 1, 5.0, True),
        (True, True, 1, 5.0, False),
        (True, False, 0, 5.0, False),
        (True, False, 1, 500.0, False),
        (True, False, 1, -5.0, False),
        (False, False, 1, 5.0, False),
    ],
)
def test_a_worker_that_takes_over_from_one_that_the_kernel_killed_says_so_first(
    *, is_here: bool, is_there: bool, kills: int, age: float, killed: bool, order: dict[str, Any]
) -> None:
    folder = Path(order["folder"])
    folder.mkdir()
    start_of_it = heartbeat.process_start(os.getpid()) if is_there else "1"
    where = this_machine() if is_here else "another"
    beat = heartbeat.Beat(os.getpid(), start_of_it, time.monotonic() - age, oom_kills=3, machine=where)
    (folder / heartbeat.HEARTBEAT).write_text(json.dumps(asdict(beat)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heartbeat, "count_oom_kills", lambda: 3 + kills)
        trainable = start(order)
    result = trainable.step()
    if killed:
        assert failure(result)["reason"] == "out_of_memory"
        assert "the kernel killed its worker" in failure(result)["detail"]
        result = trainable.step()
    assert json.loads(result[REPORT_KEY])["report"] == 1


def test_what_a_worker_writes_is_its_owners_alone_whatever_its_node_was_started_with(order: dict[str, Any]) -> None:
    before = os.umask(0o022)
    try:
        start(order).step()
    finally:
        os.umask(before)
    folder = Path(order["folder"])
    assert [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize(
    ("error", "reason", "lost"),
    [
        (ASSERTED, "error", True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "error", True),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory", False),
        (MemoryError(), "out_of_memory", False),
        (ValueError("config"), "error", False),
    ],
)
def test_what_failures_are_called(error: Exception, reason: str, lost: bool) -> None:
    assert (failure_reason(error), is_context_lost(error)) == (reason, lost)


def test_our_names_are_not_tunes(order: dict[str, Any]) -> None:
    """Tune keeps what it needs under names that begin with an underscore, too."""
    theirs = Trainable({})
    ours = {**vars(start(order)), **vars(TrialTrainable)}
    wanted = {"setup", "reset_config", "step", "cleanup", "save_checkpoint", "load_checkpoint"}
    assert {name for name in ours if name in dir(theirs) and not name.startswith("__")} == wanted


def test_a_stored_trial_leaves_nothing_on_the_machine_and_goes_on_on_another(
    order: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {**order, "storage": f"file://{tmp_path}/storage/0000"}
    plain = reports_of(start(order), order)
    reports: list[dict[str, Any]] = []
    for number in range(3):
        monkeypatch.setenv("TRITUNE_CACHE", str(tmp_path / f"machine{number}"))
        trainable = start({**stored, "known_reports": number})
        assert read_beat(working_folder(stored)) is not None
        reports.append(json.loads(trainable.step()[REPORT_KEY]))
        if number == 2:
            assert trainable.reset_config(as_config({**stored, "storage": f"file://{tmp_path}/storage/0001"}))
        else:
            trainable.cleanup()
        assert not working_folder(stored).exists()
    assert [report["score"] for report in reports] == [report["score"] for report in plain]
    assert not Path(order["folder"]).joinpath("storage").exists()
    assert Storage(f"file://{tmp_path}/storage/0000").sealed("checkpoints") == ["report-0002", "report-0003"]


def test_a_storage_that_is_gone_ends_no_trial(
    order: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainables.trainable.StoredTrial", partial(StoredTrial, patience_seconds=0))
    (tmp_path / "file").write_text("")
    trainable = start({**order, "storage": f"file://{tmp_path}/file/0000"})
    assert REPORT_KEY in trainable.step()  # it is stored while the trial goes on
    failed = failure(trainable.step())
    assert failed["reason"] == NO_STORAGE
    assert "the storage cannot be used" in failed["detail"]
    trainable.cleanup()
    assert "StorageError" in capsys.readouterr().err


def test_a_worker_whose_trial_another_has_leaves_its_folder_as_it_is(order: dict[str, Any], tmp_path: Path) -> None:
    def content() -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    first = start(as_next_attempt(order))
    assert json.loads(first.step()[REPORT_KEY])["report"] == 1
    second = start({**as_next_attempt(order), "known_reports": 1})
    before = content()
    with pytest.raises(SupersededError):
        first.step()
    assert content() == before
    with pytest.raises(SupersededError):
        first.reset_config(as_config({**order, "attempt": 1}))
    assert content() == before
    heartbeat.begin(Path(order["folder"]))
    assert json.loads(second.step()[REPORT_KEY])["report"] == 2
