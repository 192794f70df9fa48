from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.config import TrialConfig
from trainables.config_parts import BregmanConfig
from trainables.model.multitask import MultitaskModel
from trainables.objectives.bregman import TEACHER_FILE, Teacher, teacher_of
from trainables.objectives.losses import DIVERGENCES
from trainables.objectives.objective import Objective
from trainables.trainer import Trainer

Build = Callable[..., tuple[MultitaskModel, Objective]]
Weights = dict[str, torch.Tensor]


def losses(objective: Objective, model: MultitaskModel, batches: list[Any], teacher: Teacher | None) -> dict[str, torch.Tensor]:
    return objective(model, batches, masks=None, noise=torch.Generator(), teacher=teacher)


def weights(model: MultitaskModel) -> Weights:
    return {name: tensor.double() for name, tensor in model.state_dict().items()}


def disturb(model: MultitaskModel, chance: torch.Generator) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=chance), alpha=0.05)


def assert_same(one: Weights, two: Weights) -> None:
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


def test_without_mu_there_is_no_teacher(build: Build) -> None:
    model, _ = build()
    assert teacher_of(model, BregmanConfig(mu=0)) is None
    assert teacher_of(model, BregmanConfig(mu=1e-3)) is not None


@pytest.mark.parametrize(("beta", "late_beta"), [(0.99, 0.999), (0.3, 0.8), (0.0, 0.5)])
def test_it_follows_the_stated_average_of_all_weights(build: Build, beta: float, late_beta: float) -> None:
    """20 steps; the first tenth, 2 of them, with beta."""
    model, _ = build()
    teacher = Teacher(model, BregmanConfig(mu=1, beta=beta, late_beta=late_beta))
    expected, chance = weights(model), torch.Generator().manual_seed(1)
    for step in range(1, 21):
        disturb(model, chance)
        teacher.follow(model, step / 20)
        b = beta if step <= 2 else late_beta
        expected = {name: b * expected[name] + (1 - b) * now for name, now in weights(model).items()}
    assert_same(weights(teacher.model), expected)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_teacher_like_the_model_adds_nothing(build: Build, batches: list[Any], divergence: str) -> None:
    options = {"objective.bregman.mu": 3.0, "objective.smart.divergence": divergence}
    model, objective = build(**options)
    plain, held = losses(objective, model, batches, None), losses(objective, model, batches, Teacher(model, BregmanConfig()))
    assert all(torch.equal(plain[task], held[task]) for task in plain)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_it_adds_mu_times_the_mean_divergence_and_its_gradient(build: Build, batches: list[Any], divergence: str) -> None:
    options = {"objective.bregman.mu": 3.0, "objective.smart.divergence": divergence}
    model, objective = build(**options)
    teacher = Teacher(model, objective.config.bregman)
    disturb(model, torch.Generator().manual_seed(1))
    fixed = {task: inner.detach() for task, inner in teacher.model(batches, generator=None).items()}
    ours, plain = losses(objective, model, batches, teacher), losses(objective, model, batches, None)
    now = model(batches, generator=None)
    theirs = {}
    for batch in batches:
        apart = DIVERGENCES[divergence][batch.task.target]
        theirs[batch.task.name] = plain[batch.task.name] + 3 * apart(now[batch.task.name], fixed[batch.task.name]).mean()
        assert theirs[batch.task.name] > plain[batch.task.name]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(model, ours), gradients(model, theirs), rtol=1e-4, atol=1e-6)
    assert all(weight.grad is None for weight in teacher.model.parameters())


def gradients(model: MultitaskModel, values: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    model.zero_grad()
    torch.stack(list(values.values())).sum().backward()
    return [weight.grad.to_dense().clone() for weight in model.parameters() if weight.grad is not None]


def test_it_knows_no_dropout_and_draws_no_chance(build: Build, batches: list[Any]) -> None:
    model, objective = build(**{"objective.bregman.mu": 1.0})
    teacher, masks = Teacher(model, objective.config.bregman), torch.Generator().manual_seed(1)
    objective(model, batches, masks=masks, noise=torch.Generator(), teacher=teacher)
    alone = torch.Generator().manual_seed(1)
    model(batches, generator=alone)
    assert torch.equal(masks.get_state(), alone.get_state())
    plain = model(batches, generator=None)
    assert all(torch.equal(inner, plain[task]) for task, inner in teacher.predict(batches).items())


def test_saved_and_loaded_it_is_itself(build: Build, tmp_path: Path) -> None:
    model, _ = build()
    one, two = (Teacher(model, BregmanConfig(mu=1)) for _ in range(2))
    disturb(one.model, torch.Generator().manual_seed(1))
    one.save(tmp_path / TEACHER_FILE)
    two.load(tmp_path / TEACHER_FILE)
    assert all(torch.equal(tensor, two.model.state_dict()[name]) for name, tensor in one.model.state_dict().items())


def test_in_training_it_follows_each_step_from_where_training_began(small_config: TrialConfig) -> None:
    """10 steps of 4 examples, of which the first is the first tenth; the encoder stands still in the second half."""
    options = {"objective.bregman": {"mu": 1.0, "beta": 0.5, "late_beta": 0.8}, "budget_examples": 40, "num_reports": 10}
    phases = [{"share": 0.5}, {"share": 0.5, "trainable": "heads"}]
    trainer = Trainer(small_config.override({**options, "phases": phases}))
    assert trainer.teacher is not None
    expected = weights(trainer.model)
    while not trainer.done:
        beta = 0.8 if trainer.history else 0.5
        trainer.advance()
        expected = {name: beta * expected[name] + (1 - beta) * now for name, now in weights(trainer.model).items()}
        assert_same({name: tensor.cpu() for name, tensor in weights(trainer.teacher.model).items()}, expected)


def test_mu_0_is_training_as_it_was_and_mu_is_not(small_config: TrialConfig, tmp_path: Path) -> None:
    plain, off, on = (
        Trainer(small_config.override({"objective.bregman": bregman}))
        for bregman in ({}, {"mu": 0.0, "beta": 0.1, "late_beta": 0.2}, {"mu": 10.0})
    )
    for name, trainer in {"plain": plain, "off": off, "on": on}.items():
        while not trainer.done:
            trainer.advance()
        trainer.save(tmp_path / name)
    assert off.teacher is None
    states = [trainer.model.state_dict() for trainer in (plain, off, on)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert not all(torch.equal(tensor, states[2][name]) for name, tensor in states[0].items())
    assert [(tmp_path / name / TEACHER_FILE).exists() for name in ("plain", "off", "on")] == [False, False, True]
