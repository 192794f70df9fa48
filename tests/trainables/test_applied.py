"""Each setting that is searched arrives: changed alone, it changes what is read back, and the curve of the loss."""

import json
from typing import Any

import pytest

from search_spaces.domains import Value
from search_spaces.space import Dimension
from search_spaces.studies.leaderboard import SPACE
from trainables.config import TrialConfig
from trainables.trainer import Trainer

BASE = TrialConfig.parse(
    {
        "data": {"max_tokens": 24, "batch_size": 4, "train_share": {"sst": 0.2, "qqp": 0.9, "sts": 0.05}},
        "encoder": {"name": "tiny"},
        "optimizer": {"lr": 1e-3, "warmup_fraction": 0.1},
        "budget_examples": 96,
        "num_reports": 8,
        "early_dev_share": 0.01,
    }
)
LATE = {"phases.0.epochs"}
"""Plays a part from the second epoch on."""


def values_of(dimension: Dimension) -> tuple[Value, Value]:
    """Two values that are far apart."""
    points = dimension.domain.grid(2)
    return points[0], 1 if dimension.path == "phases.0.frozen_layers" else points[-1]  # of two layers


def configs(dimension: Dimension) -> list[TrialConfig]:
    """Two configs that differ in this setting alone, and in which it plays a part."""
    needed: dict[str, Value] = {}
    wanted = dict(dimension.when)
    while wanted:
        path, allowed = wanted.popitem()
        source = next(d for d in SPACE.dimensions if d.path == path and any(d.domain.contains(value) for value in allowed))
        needed[path] = next(value for value in allowed if source.domain.contains(value))
        wanted |= source.when
    outer = {path: value for path, value in needed.items() if not path.startswith("heads.")}
    inner = {path: value for path, value in needed.items() if path.startswith("heads.")}
    return [BASE.override({**outer, **inner, dimension.path: value}) for value in values_of(dimension)]


def run(config: TrialConfig, num_reports: int) -> tuple[dict[str, Any], list[float]]:
    trainer = Trainer(config)
    losses = [trainer.advance()["loss"] for _ in range(num_reports)]
    assert trainer.applied is not None
    return trainer.applied, losses


@pytest.mark.parametrize("dimension", SPACE.dimensions, ids=lambda dimension: dimension.name)
def test_each_searched_setting_arrives(dimension: Dimension) -> None:
    (one, one_curve), (other, other_curve) = (run(config, 8 if dimension.path in LATE else 2) for config in configs(dimension))
    assert one != other, "nothing that is read back knows of it"
    assert one_curve != other_curve, "it makes no difference to the loss"


def test_what_is_read_back_is_that_of_the_first_step() -> None:
    config = BASE.override({"optimizer.lr_schedule": "linear", "optimizer.warmup_fraction": 0.5, "optimizer.head_lr_scale": 10.0})
    applied, _ = run(config, 2)
    middle_of_the_first_step = (4 / 2) / 96
    rates = sorted({group["lr"] for group in applied["optimizer"]["groups"]})
    assert rates == pytest.approx([1e-3 * middle_of_the_first_step / 0.5, 1e-2 * middle_of_the_first_step / 0.5])
    assert applied["batches"] == {"sst": {**applied["batches"]["sst"], "examples": 4, "sequences": 4, "cls_tokens": 1}}
    assert applied["training_rows"]["sts"] == 80
    assert applied["schedule"]["lr"][3] == pytest.approx(1e-3), "the peak, in the middle"
    assert json.loads(json.dumps(applied)) == applied


@pytest.mark.parametrize("settings", [{}, {"encoder.lora.rank": 2}, {"phases.0.trainable": "heads"}])
def test_weights_that_may_move_are_those_that_do(settings: dict[str, Any]) -> None:
    trainer = Trainer(BASE.override({"phases.0.task_schedule": "sum_of_losses", **settings}))
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.advance()
    trainer.advance()  # LoRA's A has no gradient before B has moved
    assert trainer.applied is not None
    moved = (weight for name, weight in trainer.model.named_parameters() if not weight.equal(before[name]))
    assert trainer.applied["model"]["num_trainable"] == sum(weight.numel() for weight in moved)


def test_it_survives_a_stop(tmp_path: Any) -> None:
    trainer = Trainer(BASE)
    trainer.advance()
    trainer.save(tmp_path / "saved")
    again = Trainer(BASE)
    assert again.applied is None
    again.load(tmp_path / "saved")
    assert again.applied == trainer.applied
