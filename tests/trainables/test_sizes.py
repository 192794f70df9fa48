import random
from pathlib import Path
from typing import Any

import pytest

from search_spaces.registry import SPACES
from search_spaces.space import Space
from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
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


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
def test_no_trial_of_a_space_is_larger_than_its_largest(space: Space, small_config: TrialConfig) -> None:
    files, chance, varying = find_encoder(small_config.encoder.name), random.Random(7), dict[str, list[Any]]()
    for dimension in space.dimensions:
        varying.setdefault(dimension.path, []).extend(dimension.domain.grid(2))
    base = TrialConfig().override({"encoder.name": small_config.encoder.name})
    for _ in range(200):
        point = space.draw(lambda _name, domain: chance.choice(domain.grid(3)), base)
        for most in (most_model_bytes, most_checkpoint_bytes):
            assert most(space.configure(point, base, 0, 0), files) <= most(base, files, varying)


def test_what_varies_counts_as_it_would_in_a_config(small_config: TrialConfig) -> None:
    files = find_encoder(small_config.encoder.name)
    largest = small_config.override({**CASES["two encoders"], "objective.bregman.mu": 1.0, **CASES["wide heads"]})
    varying = {"encoder.copies": ["singles_and_pairs"], "objective.bregman.mu": [0.0, 1.0], "heads.*.hidden_size": [2, 700]}
    for most in (most_model_bytes, most_checkpoint_bytes):
        assert most(small_config, files, varying) == most(largest, files) > most(small_config, files)
