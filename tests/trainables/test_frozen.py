import errno
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables import frozen
from trainables.config import TrialConfig
from trainables.files import cache_folder
from trainables.model.multitask import MultitaskModel
from trainables.trainer import Trainer

HEADS = {"phases.0.trainable": "heads"}
TIMES = ("train_seconds", "eval_seconds", "examples_per_second", "tokens_per_second")


@pytest.fixture(autouse=True)
def _nothing_is_computed_yet() -> None:
    shutil.rmtree(cache_folder() / "frozen", ignore_errors=True)


def files() -> list[Path]:
    return sorted((cache_folder() / "frozen").glob("*.arrow"))


def curve(config: TrialConfig, cache: str) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    trainer = Trainer(config.override({"encoder.frozen_cache": cache}))
    reports = [trainer.advance() for _ in range(config.num_reports)]
    return [{k: v for k, v in r.items() if k not in TIMES} for r in reports], dict(trainer.model.state_dict())


CASES: dict[str, dict[str, Any]] = {
    "cls": {},
    "mean": {"encoder.pooling": "mean"},
    "max": {"encoder.pooling": "max", "encoder.pair_encoding": "bi"},
    "attention": {"encoder.pooling": "attention"},
    "conv1d": {"heads.sst.kind": "conv1d", "encoder.pair_encoding": "bi", "heads.sts.kind": "abs_difference"},
    "two poolings": {"heads.sst.pooling": "attention", "heads.qqp.pooling": "mean", "encoder.pair_encoding": "bi"},
    "two [CLS]": {"encoder.cls_tokens": 2},
    "two encoders": {"encoder.copies": "singles_and_pairs", "encoder.pooling": "mean"},
    "all tasks in a step": {"phases.0.task_schedule": "sum_of_losses"},
    "part of the rows": {"data.train_share.*": 0.5},
    "copies": {"data.eda.copies.*": 2, "data.train_share.qqp": 0.5},
    "contrastive": {"encoder.pair_encoding": "bi", "objective.contrastive.weights.qqp": 1.0, "encoder.pooling": "mean"},
    "a moving average": {"objective.bregman.mu": 1.0},
    "adapters": {"encoder.lora.rank": 2},
}
STILL = {"all layers": HEADS, "the first layer": {"phases.0.frozen_layers": 1}}


@pytest.mark.parametrize(
    ("case", "still"), [pair for pair in itertools.product(CASES, STILL) if pair != ("adapters", "all layers")]
)
def test_a_trial_trains_as_if_all_were_computed(small_config: TrialConfig, case: str, still: str) -> None:
    config = small_config.override({**CASES[case], **STILL[still]})
    expected, weights = curve(config, "never")
    assert not files()
    found, own_weights = curve(config, "always")
    assert len(files()) == 6
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert other[key] == pytest.approx(value, rel=1e-3, abs=1e-3), key  # Pearson of predictions that hardly differ
    for name, weight in weights.items():
        torch.testing.assert_close(own_weights[name], weight, rtol=1e-3, atol=1e-4, msg=name)


def never(*_: Any) -> None:
    pytest.fail("it was computed again")


def test_it_is_computed_once_for_all_trials(small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config.override(HEADS)
    first = curve(config, "always")[0]
    monkeypatch.setattr(MultitaskModel, "frozen_states", never)
    assert curve(config, "always")[0] == first
    other = {"optimizer.lr": 0.1, "heads.sst.kind": "mlp", "seed": 3, "data.batch_size": 2, "objective.losses.sst": "default"}
    curve(config.override(other), "always")


def test_a_damaged_file_is_made_again(small_config: TrialConfig) -> None:
    config = small_config.override(HEADS)
    first = curve(config, "always")[0]
    contents = {file: file.read_bytes() for file in files()}
    for file, content in contents.items():
        file.unlink()  # not written over: it may still be mapped
        file.write_bytes(content[: len(content) // 2])
    assert curve(config, "always")[0] == first
    assert {file: file.read_bytes() for file in files()} == contents


def phases(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"phases": [{"share": 1 / len(parts), **part} for part in parts]}


@pytest.mark.parametrize(
    ("parts", "layers"),
    [
        (phases({"trainable": "heads"}, {}), [2, 0]),
        (phases({}, {"trainable": "heads"}), [0, 0]),
        (phases({"frozen_layers": 1}, {"trainable": "heads"}), [1, 1]),
        (phases({"trainable": "heads"}, {"frozen_layers": 1}), [2, 1]),
    ],
)
def test_layers_that_have_moved_are_not_still_any_more(
    small_config: TrialConfig, parts: dict[str, Any], layers: list[int]
) -> None:
    config = small_config.override(parts)
    still = Trainer(config).frozen
    assert [still.num_layers(number) for number in range(2)] == layers
    expected, found = curve(config, "never")[0], curve(config, "always")[0]
    assert [r["score"] for r in found] == pytest.approx([r["score"] for r in expected], abs=1e-4)
    assert [r["loss"] for r in found] == pytest.approx([r["loss"] for r in expected], rel=1e-3)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_smart_moves_what_the_layers_read(small_config: TrialConfig, share: float) -> None:
    curve(small_config.override({**HEADS, "objective.smart": {"enabled": True, "batch_share": share}}), "always")
    assert not files()


def test_auto_computes_for_a_trial_that_reads_every_row_twice(small_config: TrialConfig) -> None:
    config = small_config.override({**HEADS, "data.train_share.*": 0.25})  # 18 rows
    curve(config.override({"budget_examples": 35}), "auto")
    assert not files()
    curve(config, "auto")
    assert len(files()) == 6


def test_auto_takes_what_is_there(small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config.override(HEADS)
    curve(config, "always")
    monkeypatch.setattr(MultitaskModel, "_joined", never)
    curve(config, "auto")


def test_what_would_be_too_large_is_computed_anew(small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "MAX_BYTES", 24 * 4)
    curve(small_config.override(HEADS), "always")
    assert not files()


@pytest.mark.parametrize(("begun", "made_by"), [("auto", "always"), ("always", "auto")])
def test_a_trial_goes_on_as_it_began_whatever_is_in_the_cache_by_then(
    small_config: TrialConfig, tmp_path: Path, begun: str, made_by: str
) -> None:
    config = small_config.override({**HEADS, "encoder.frozen_cache": begun})
    whole = curve(config, begun)[0]
    shutil.rmtree(cache_folder() / "frozen", ignore_errors=True)
    trainer = Trainer(config)
    trainer.advance()
    trainer.save(tmp_path / "saved")
    shutil.rmtree(cache_folder() / "frozen", ignore_errors=True)
    curve(config, made_by)
    again = Trainer(config)
    again.load(tmp_path / "saved")
    assert [{k: v for k, v in again.advance().items() if k not in TIMES} for _ in range(2)] == whole[1:]
    assert again.frozen.decisions == {"0 train": begun == "always", "0 dev": begun == "always"}


def test_a_checkpoint_from_before_goes_on_without(small_config: TrialConfig, tmp_path: Path) -> None:
    config = small_config.override({**HEADS, "encoder.frozen_cache": "always"})
    trainer = Trainer(config)
    trainer.advance()
    trainer.save(tmp_path / "saved")
    state = json.loads((tmp_path / "saved" / "state.json").read_text())
    del state["frozen"]
    (tmp_path / "saved" / "state.json").write_text(json.dumps(state))
    again = Trainer(config)
    again.load(tmp_path / "saved")
    again.advance()
    assert again.frozen.decisions == {"0 train": False, "0 dev": False}


def test_a_full_disk_costs_time_alone(small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    config = small_config.override(HEADS)
    expected = curve(config, "never")[0]
    monkeypatch.setattr(frozen, "write_arrow", full)
    assert curve(config, "always")[0] == expected
    monkeypatch.undo()
    _nothing(monkeypatch)
    assert curve(config, "always")[0] == expected
    assert not files()


def _nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with no room to speak of."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(frozen.shutil, "disk_usage", lambda _: usage._replace(free=100))


def test_the_ledger_is_told(small_config: TrialConfig) -> None:
    for cache, layers in (("always", {"sst": 2, "qqp": 2, "sts": 2}), ("never", {})):
        trainer = Trainer(small_config.override({**HEADS, "encoder.frozen_cache": cache}))
        trainer.advance()
        assert trainer.applied is not None
        assert trainer.applied["layers_from_cache"] == layers


def test_a_resumed_trial_goes_on_as_if_it_had_not_stopped(small_config: TrialConfig, tmp_path: Path) -> None:
    config = small_config.override({**HEADS, "encoder.frozen_cache": "always"})
    whole = curve(config, "always")[0]
    trainer = Trainer(config)
    trainer.advance()
    trainer.save(tmp_path / "after 1")
    again = Trainer(config)
    again.load(tmp_path / "after 1")
    rest = [again.advance() for _ in range(2)]
    assert [{k: v for k, v in r.items() if k not in TIMES} for r in rest] == whole[1:]


def test_places_of_states_are_those_of_their_rows(small_config: TrialConfig) -> None:
    trainer = Trainer(small_config.override({**HEADS, "encoder.frozen_cache": "always", "encoder.pair_encoding": "bi"}))
    [table] = [trainer.frozen.tables(trainer.model, 0, 36, "train")["sts"]]
    assert table.pooled and table.values.shape == (48, trainer.files.hidden_size)
    assert np.array_equal(table.first, np.arange(24) * 2)
    taken = table.take(np.array([3, 5, 3, 5]), np.array([0, 0, 1, 1]))
    assert np.array_equal(taken.values.numpy(), table.values[[6, 10, 7, 11]])
