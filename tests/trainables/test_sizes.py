from pathlib import Path
from typing import Any

import pytest

from trainables.config import TrialConfig
from trainables.sizes import most_checkpoint_bytes, most_model_bytes
from trainables.trainer import Trainer

SUM = {"phases": [{"task_schedule": "sum_of_losses"}]}
BI = {"encoder.pair_encoding": "bi"}
CASES: dict[str, dict[str, Any]] = {
    "plain": SUM,
    "wide heads": {**SUM, "heads.*.kind": "mlp", "heads.*.hidden_size": 700},
    "wide heads over pairs": {**SUM, **BI, "heads.*.kind": "mlp", "heads.*.hidden_size": 700, "encoder.pooling": "attention"},
    "convolutions": {**SUM, "heads.*.kind": "conv1d", "heads.*.hidden_size": 700},
    "compressed": {**SUM, **BI, "heads.sts.kind": "compress_expand", "heads.sts.hidden_size": 700},
    "two encoders": {**SUM, "encoder.copies": "singles_and_pairs"},
    "adapters": {**SUM, "encoder.lora.rank": 32, "encoder.lora.targets": "all"},
    "a teacher": {**SUM, "objective.bregman.mu": 1.0},
    "lion": {**SUM, "optimizer.name": "lion"},
}


def num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_no_more_than_was_said(name: str, small_config: TrialConfig, tmp_path: Path) -> None:
    trainer = Trainer(small_config.override(CASES[name]))
    trainer._step()
    trainer.save_model(tmp_path / "model")
    trainer.save(tmp_path / "checkpoint")
    of_model, of_checkpoint = (num_bytes(tmp_path / kind) for kind in ("model", "checkpoint"))
    assert of_model <= most_model_bytes(trainer.config, trainer.files)
    assert of_checkpoint <= most_checkpoint_bytes(trainer.config, trainer.files)
    if name == "plain":  # and not much less
        assert 2 * of_checkpoint > most_checkpoint_bytes(trainer.config, trainer.files) - 4 * 64 * 1024
