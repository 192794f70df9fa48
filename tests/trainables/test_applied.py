"""Each setting that is searched arrives: changed alone, it changes what is read back, and the curve of the loss."""

import json
from pathlib import Path
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


def said(applied: dict[str, Any]) -> dict[str, Any]:
    """What is read back without what is measured, which knows of every setting."""
    return {**applied, "model": {key: value for key, value in applied["model"].items() if key != "gradient_norm"}}


@pytest.mark.parametrize("dimension", SPACE.dimensions, ids=lambda dimension: dimension.name)
def test_each_searched_setting_arrives(dimension: Dimension) -> None:
    (one, one_curve), (other, other_curve) = (run(config, 8 if dimension.path in LATE else 2) for config in configs(dimension))
    assert said(one) != said(other), "nothing that is read back knows of it"
    assert one_curve != other_curve, "it makes no difference to the loss"


HALVES = [{"share": 0.5}, {"share": 0.5}]
WHOLE = [{"task_schedule": "whole_dataset_round_robin"}]
APART = {"encoder.pair_encoding": "bi"}
NOT_SEARCHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bucket_window": ({}, {"data.bucket_window": 4}),
    "micro_batch_size": ({}, {"data.micro_batch_size": 2}),
    "lora.alpha": ({"encoder.lora.rank": 2}, {"encoder.lora.alpha": 160.0}),
    "round_share": ({"phases": WHOLE, "budget_examples": 10_000}, {"phases.0.round_share": {"sst": 0.1}}),
    "share": ({"phases": HALVES}, {"phases": [{"share": 0.25}, {"share": 0.75}]}),
    "a later phase's lr": ({"phases": HALVES}, {"phases.1.lr": 1e-2}),
    "a later phase's trainable": ({"phases": HALVES}, {"phases.1.trainable": "heads"}),
    "a later phase's frozen_layers": ({"phases": HALVES}, {"phases.1.frozen_layers": 1}),
    "a later phase's tasks": ({"phases": HALVES}, {"phases.1.tasks": ["sst"]}),
    "smart.noise_std": ({"objective.smart.enabled": True}, {"objective.smart.noise_std": 1e-2}),
    "smart.batch_share": ({"objective.smart.enabled": True}, {"objective.smart.batch_share": 0.5}),
    "smart.epsilon": ({"objective.smart.enabled": True}, {"objective.smart.epsilon": 1.0}),
    "contrastive.margin": ({**APART, "objective.contrastive.weights.qqp": 1.0}, {"objective.contrastive.margin": 1.0}),
    "ranking.scale": ({**APART, "objective.ranking.weights.qqp": 1.0}, {"objective.ranking.scale": 5.0}),
}


@pytest.mark.parametrize("name", NOT_SEARCHED)
def test_what_is_set_by_hand_arrives(name: str) -> None:
    settings, change = NOT_SEARCHED[name]
    base = BASE.override(settings)
    one, other = (first_step(config) for config in (base, base.override(change)))
    assert said(one) != said(other)


def first_step(config: TrialConfig) -> dict[str, Any]:
    trainer = Trainer(config)
    trainer._step()
    assert trainer.applied is not None
    return trainer.applied


@pytest.mark.parametrize("max_grad_norm", [0.1, None])
def test_the_gradients_norm_is_that_of_the_step(max_grad_norm: float | None) -> None:
    trainer = Trainer(BASE.override({"optimizer.max_grad_norm": max_grad_norm}))
    before = trainer._step().grad_norm
    assert trainer.applied is not None
    assert before > 0.5
    assert trainer.applied["model"]["gradient_norm"] == pytest.approx(max_grad_norm or before, rel=1e-4)


def test_each_phase_and_its_rounds_are_read_back() -> None:
    share = {"sst": 0.1}
    phases = [
        {**WHOLE[0], "share": 0.5, "round_share": share},
        {"share": 0.5, "lr": 1e-2, "tasks": ["sts"], "trainable": "heads"},
    ]
    applied = first_step(BASE.override({"phases": phases, "budget_examples": 10_000, "optimizer.warmup_fraction": 0.0}))
    rounds = {"sst": 32, "qqp": 1440, "sts": 80}
    assert applied["turn"] == {"num_examples": 5000, "epochs": 5, "epoch_examples": None, "rows_a_round": rounds}
    first, second = applied["phases"]
    assert (first["ends"], first["task_schedule"], first["round_share"]) == (5000, "whole_dataset_round_robin", share)
    assert (second["ends"], second["tasks"], second["trainable"]) == (10_000, ["sts"], "heads")
    assert (set(first["lr"]), set(second["lr"])) == ({1e-3}, {1e-2})


def test_epochs_of_so_many_batches_are_read_back() -> None:
    phase = {"task_schedule": "annealed", "batches_per_epoch": 25}
    applied = first_step(BASE.override({"phases": [phase], "budget_examples": 1010, "data.batch_size": 4}))
    assert (applied["turn"]["epochs"], applied["turn"]["epoch_examples"]) == (11, 100)


def test_a_loss_is_read_back_as_its_terms(tmp_path: Path) -> None:
    Trainer(BASE).save_model(tmp_path / "teacher")
    taught = {"objective.distill.teachers.qqp": str(tmp_path / "teacher"), "objective.smart.divergence": "kl"}
    applied = first_step(BASE.override({**taught, "objective.losses.sst": "ordered_cross_entropy"}))
    assert applied["objective"] == {
        "terms": {
            "sst": {"loss": {"function": "ordered_cross_entropy", "weight": 1.0}},
            "qqp": {
                "loss": {"function": "binary_cross_entropy", "weight": 1.0},
                "distill": {"function": "teacher_terms", "weight": 1.0, "divergence": "kl"},
            },
            "sts": {"loss": {"function": "squared_error", "weight": 1.0}},
        },
        "added": {"sst": ["loss"]},
        "smart_examples": {},
    }


def test_smart_is_read_back_as_it_is_added() -> None:
    smart = {"enabled": True, "step_size": 0.5, "dropout": "off", "weights": {"sst": 7.0, "qqp": 0.0}, "batch_share": 0.3}
    both = {"objective.smart": smart, "objective.bregman.mu": 2.0, "phases.0.task_schedule": "sum_of_losses"}
    applied = first_step(BASE.override(both))["objective"]
    constants = {"step_size": 0.5, "noise_std": 1e-3, "epsilon": 1e-6, "dropout": "off", "divergence": "symmetric_kl"}
    constants |= {"batch_share": 0.3}
    terms = applied["terms"]
    assert terms["sst"]["smart"] == {"function": "smart_terms", "weight": 7.0, **constants}
    assert "smart" not in terms["qqp"]
    assert terms["sts"]["bregman"] == {"function": "squared_difference", "weight": 2.0}
    on = ["loss", "smart", "bregman"]
    assert applied["added"] == {"sst": on, "qqp": ["loss", "bregman"], "sts": on}
    assert applied["smart_examples"] == {"sst": 2, "qqp": 2, "sts": 2}  # of 4


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


def test_it_survives_a_stop(tmp_path: Path) -> None:
    trainer = Trainer(BASE)
    trainer.advance()
    trainer.save(tmp_path / "saved")
    again = Trainer(BASE)
    assert again.applied is None
    again.load(tmp_path / "saved")
    assert again.applied == trainer.applied
