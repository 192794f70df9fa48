import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainables.model.multitask import MultitaskModel
from trainables.objectives.bregman import Teacher
from trainables.objectives.distill import teacher_terms
from trainables.objectives.losses import DIVERGENCES
from trainables.objectives.objective import Objective

Build = Callable[..., tuple[MultitaskModel, Objective]]
Losses = dict[str, torch.Tensor]


def losses(objective: Objective, model: MultitaskModel, batches: list[Any], **options: Any) -> Losses:
    return objective(model, batches, masks=None, noise=torch.Generator().manual_seed(1), **options)


def taught(batches: list[Any], outputs: Losses) -> list[Any]:
    return [dataclasses.replace(batch, teacher=outputs.get(batch.task.name)) for batch in batches]


def predictions(model: MultitaskModel, batches: list[Any]) -> Losses:
    return {task: inner.detach() for task, inner in model(batches, generator=None).items()}


def apart(outputs: Losses) -> Losses:
    """Others, which differ from these in every class."""
    return {task: inner + torch.linspace(-1, 2, inner.numel()).reshape(inner.shape) for task, inner in outputs.items()}


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_teacher_like_the_student_adds_exactly_0(build: Build, batches: list[Any], divergence: str) -> None:
    model, objective = build(**{"objective.distill.gamma": 3.0, "objective.smart.divergence": divergence})
    own = taught(batches, predictions(model, batches))
    assert all(
        torch.equal(term, torch.zeros(())) for term in teacher_terms(predictions(model, own), own, divergence=divergence).values()
    )
    one, two = losses(objective, model, batches), losses(objective, model, own)
    assert all(torch.equal(one[task], two[task]) for task in one)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_it_adds_gamma_times_the_mean_divergence_to_tasks_with_a_teacher(
    build: Build, batches: list[Any], divergence: str
) -> None:
    model, objective = build(**{"objective.distill.gamma": 3.0, "objective.smart.divergence": divergence})
    now = predictions(model, batches)
    fixed = apart(now)
    del fixed["qqp"]
    plain, ours = losses(objective, model, batches), losses(objective, model, taught(batches, fixed))
    assert torch.equal(plain["qqp"], ours["qqp"])
    for task, target in (("sst", "classes"), ("sts", "score")):
        term = DIVERGENCES[divergence][target](now[task], fixed[task]).mean()
        assert term > 0
        torch.testing.assert_close(ours[task], plain[task] + 3 * term)


def test_kl_is_that_of_the_student_from_the_teacher(batches: list[Any]) -> None:
    teacher, student = torch.tensor([[2.0, 0, 0, 0, 0]]), torch.tensor([[0.0, 0, 0, 1, 0]])
    batch = dataclasses.replace(batches[0], teacher=teacher)
    p, q = teacher.softmax(-1), student.softmax(-1)
    term = teacher_terms({"sst": student}, [batch], divergence="kl")["sst"]
    torch.testing.assert_close(term, (p * (p / q).log()).sum())


def test_gamma_0_is_no_teacher(build: Build, batches: list[Any]) -> None:
    model, off = build(**{"objective.distill.gamma": 0.0})
    other = taught(batches, {task: inner + 1 for task, inner in predictions(model, batches).items()})
    plain, still = losses(off, model, batches), losses(off, model, other)
    assert all(torch.equal(plain[task], still[task]) for task in plain)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_its_gradient_pulls_to_the_teacher(build: Build, batches: list[Any], divergence: str) -> None:
    model, _ = build()
    own = taught(batches, apart(predictions(model, batches)))

    def distance() -> torch.Tensor:
        terms = teacher_terms(model(own, generator=None), own, divergence=divergence)
        return torch.stack(list(terms.values())).sum()

    before = distance()
    before.backward()
    with torch.no_grad():
        for weight in model.heads.parameters():
            weight.sub_(weight.grad, alpha=1e-2)
    assert distance() < before


def test_it_goes_with_smart_and_the_bregman_step(build: Build, batches: list[Any]) -> None:
    smart = {"objective.smart.enabled": True, "objective.bregman.mu": 2.0, "objective.smart.divergence": "kl"}
    model, without = build(**smart, **{"objective.distill.gamma": 0.0})
    _, together = build(**smart, **{"objective.distill.gamma": 0.5})
    average = Teacher(model, together.config.bregman)
    with torch.no_grad():
        for weight in average.model.heads.parameters():
            weight.add_(0.1)
    other = taught(batches, apart(predictions(model, batches)))
    one, two = (losses(objective, model, other, teacher=average) for objective in (without, together))
    terms = teacher_terms(predictions(model, batches), other, divergence="kl")
    for task in one:
        assert terms[task] > 0
        torch.testing.assert_close(two[task], one[task] + 0.5 * terms[task])
