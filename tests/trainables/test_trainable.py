import json
from pathlib import Path
from typing import Any

import pytest

from trainables.config import TrialConfig
from trainables.session import TrialSession
from trainables.trainable import EXIT_UNUSABLE, FAILURE_KEY, REPORT_KEY, TrialTrainable, failure_reason, is_context_lost


class AcceleratorError(RuntimeError):
    """Torch's name for what CUDA complains about."""


class OutOfMemoryError(RuntimeError):
    """Torch's name for a failed allocation."""


ASSERTED = AcceleratorError("CUDA error: device-side assert triggered")


@pytest.fixture
def order(small_config: TrialConfig, tmp_path: Path) -> dict[str, Any]:
    return {"number": 0, "config": small_config.to_tree(), "folder": str(tmp_path / "0000"), "known_reports": 0}


def start(order: dict[str, Any]) -> TrialTrainable:
    """As a worker sees it, without Ray around it."""
    trainable: TrialTrainable = object.__new__(TrialTrainable)
    trainable.setup(order)
    return trainable


def failure(result: dict[str, Any]) -> dict[str, str]:
    return dict(json.loads(result[FAILURE_KEY]))


def test_it_reports_step_by_step_and_takes_the_next_trial(order: dict[str, Any], tmp_path: Path) -> None:
    trainable = start(order)
    assert [json.loads(trainable.step()[REPORT_KEY])["report"] for _ in range(2)] == [1, 2]
    assert trainable.reset_config({**order, "folder": str(tmp_path / "0001")})
    assert json.loads(trainable.step()[REPORT_KEY])["report"] == 1
    assert (tmp_path / "0001" / "best").is_dir()


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
    assert trainable.reset_config(order)
    assert ended == []
    trainable.step()
    assert ended == ([EXIT_UNUSABLE] if ends else [])


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
