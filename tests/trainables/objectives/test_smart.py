import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainables.config import TrialConfig
from trainables.config_parts import SmartConfig
from trainables.encoder_files import find_encoder
from trainables.model.multitask import MultitaskModel
from trainables.objectives.losses import DIVERGENCES
from trainables.objectives.objective import Objective
from trainables.objectives.smart import ascent_direction, smart_terms
from trainables.tasks import CS224N

Make = Callable[..., Any]

every_dropout = pytest.mark.parametrize("dropout", ["same_masks", "off"])
every_divergence = pytest.mark.parametrize("divergence", DIVERGENCES)


def build(probability: float = 0.1, **smart: Any) -> tuple[MultitaskModel, Objective]:
    values = {key if "." in key else f"objective.smart.{key}": value for key, value in smart.items()}
    config = TrialConfig().override(
        {"encoder.name": "tiny", "encoder.dropout": probability, "heads.*.dropout": probability, **values}
    )
    model = MultitaskModel(config, find_encoder("tiny"), torch.Generator().manual_seed(0))
    return model, Objective(config.objective)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batches(make_batch: Make) -> list[Any]:
    return [make_batch("sst", [4, 9, 2]), make_batch("qqp", [30, 3]), make_batch("sts", [7, 7])]


def losses(objective: Objective, model: MultitaskModel, batches: list[Any]) -> dict[str, torch.Tensor]:
    return objective(model, batches, masks=seeded(1), noise=seeded(2))


def gradients(model: MultitaskModel, values: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    model.zero_grad()
    torch.stack(list(values.values())).sum().backward()
    return [weight.grad.to_dense().clone() for weight in model.parameters() if weight.grad is not None]


@every_dropout
@every_divergence
def test_without_step_and_noise_it_is_the_plain_loss_and_gradient(batches: list[Any], dropout: str, divergence: str) -> None:
    model, plain = build()
    _, smart = build(enabled=True, step_size=0.0, noise_std=0.0, dropout=dropout, divergence=divergence)
    one, two = losses(plain, model, batches), losses(smart, model, batches)
    assert all(torch.equal(one[task], two[task]) for task in CS224N.by_name)
    for a, b in zip(gradients(model, one), gradients(model, two), strict=True):
        torch.testing.assert_close(a, b)


def test_weight_0_is_the_plain_loss(batches: list[Any]) -> None:
    model, plain = build()
    _, smart = build(enabled=True, weights={"sst": 0.0, "qqp": 0.0, "sts": 1.0})
    for some in (batches, batches[:2]):  # beside a task that has a weight, and without
        one, two = losses(plain, model, some), losses(smart, model, some)
        assert {task: torch.equal(loss, two[task]) for task, loss in one.items()} == {task: task != "sts" for task in one}


@every_dropout
def test_it_draws_the_masks_of_the_clean_pass_and_no_more(batches: list[Any], dropout: str) -> None:
    model, plain = build()
    _, smart = build(enabled=True, dropout=dropout)
    one, two = seeded(1), seeded(1)
    plain(model, batches, masks=one, noise=seeded(2))
    smart(model, batches, masks=two, noise=seeded(2))
    assert torch.equal(one.get_state(), two.get_state())


def test_its_steps_leave_no_gradient_behind(batches: list[Any]) -> None:
    model, smart = build(enabled=True)
    losses(smart, model, batches)
    assert all(weight.grad is None for weight in model.parameters())


def test_a_larger_step_moves_predictions_further(batches: list[Any]) -> None:
    model, plain = build()
    base = losses(plain, model, batches)
    terms = [losses(build(enabled=True, step_size=step)[1], model, batches)["sst"] - base["sst"] for step in (1e-3, 1e-2, 1e-1)]
    assert 0 <= terms[0] < terms[1] < terms[2]


def test_the_direction_has_inf_norm_1_a_token() -> None:
    gradient = torch.randn(9, 6) * torch.logspace(-3, 3, 9)[:, None]
    direction = ascent_direction(gradient, 1e-9)
    torch.testing.assert_close(direction.abs().amax(dim=1), torch.ones(9), rtol=1e-4, atol=0)
    assert torch.equal(direction.sign(), gradient.sign())
    assert torch.equal(ascent_direction(torch.zeros(2, 3), 1e-6), torch.zeros(2, 3))


def test_with_its_defaults_the_step_has_its_whole_length(batches: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[torch.Tensor] = []

    def spy(gradient: torch.Tensor, epsilon: float) -> torch.Tensor:
        norms.append(ascent_direction(gradient, epsilon).abs().amax(dim=1))
        return ascent_direction(gradient, epsilon)

    monkeypatch.setattr("trainables.objectives.smart.ascent_direction", spy)
    model, smart = build(enabled=True)
    losses(smart, model, batches)
    assert norms[0][:15].median() > 0.9  # the first task's; a random encoder's other heads answer more weakly


def test_the_step_goes_uphill(batches: list[Any]) -> None:
    """Of two steps of one length, the one chosen moves predictions further than its mirror image through the noise."""
    model, _ = build(probability=0.0)
    batch = batches[:1]
    config = SmartConfig(enabled=True, step_size=1e-2, noise_std=1e-2)
    mirrored = config.model_copy(update={"step_size": -1e-2})
    embeddings = model.embed(batch)
    clean = model(batch, generator=None, embeddings=embeddings)
    up, down = (
        smart_terms(model, batch, clean, embeddings, config=c, masks=None, noise=seeded(2))["sst"] for c in (config, mirrored)
    )
    assert up > down


def naive_terms(
    model: MultitaskModel, batch: Any, config: SmartConfig, masks: torch.Generator, noise: torch.Generator
) -> torch.Tensor:
    """Equation 3 as it reads, one task, every pass with a generator of its own in the state of `masks`, or none with one."""
    divergence = DIVERGENCES[config.divergence][batch.task.target]

    def drawn() -> torch.Generator | None:
        return masks.clone_state() if config.dropout == "same_masks" else None

    clean = model([batch], generator=drawn())[batch.task.name]
    start = torch.randn(model.embed([batch]).shape, generator=noise) * config.noise_std
    start.requires_grad_()
    moved = model([batch], generator=drawn(), embeddings=model.embed([batch]) + start)[batch.task.name]
    (gradient,) = torch.autograd.grad(divergence(moved, clean.detach()).sum(), start)
    gradient = gradient / config.noise_std
    worst = start.detach() + config.step_size * gradient / (gradient.abs().max(dim=1).values[:, None] + config.epsilon)
    moved = model([batch], generator=drawn(), embeddings=model.embed([batch]) + worst)[batch.task.name]
    return divergence(moved, clean).mean()


@every_dropout
@every_divergence
@pytest.mark.parametrize("task", CS224N.by_name)
def test_equals_a_plain_implementation_in_value_and_gradient(
    task: str, batches: list[Any], dropout: str, divergence: str
) -> None:
    batch = next(batch for batch in batches if batch.task.name == task)
    model, plain = build()
    options = {"step_size": 0.1, "noise_std": 0.01, "dropout": dropout, "divergence": divergence}
    _, smart = build(enabled=True, weights=dict.fromkeys(CS224N.by_name, 2.0), **options)
    ours = losses(smart, model, [batch])
    theirs = {
        task: losses(plain, model, [batch])[task] + 2.0 * naive_terms(model, batch, smart.config.smart, seeded(1), seeded(2))
    }
    torch.testing.assert_close(ours[task], theirs[task])
    for a, b in zip(gradients(model, ours), gradients(model, theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def alone(batch: Any, examples: list[int]) -> Any:
    """Examples of a batch, cut out sequence by sequence."""
    twice = len(batch.lengths) // batch.num_examples
    sequences = [example + number * batch.num_examples for number in range(twice) for example in examples]
    ends = batch.lengths.cumsum()
    tokens = [place for number in sequences for place in range(ends[number] - batch.lengths[number], ends[number])]
    return dataclasses.replace(
        batch,
        token_ids=batch.token_ids[tokens],
        segment_ids=batch.segment_ids[tokens],
        lengths=batch.lengths[sequences],
        num_examples=len(examples),
        labels=batch.labels[examples],
    )


def with_part(model: MultitaskModel, plain: Objective, batch: Any, config: SmartConfig) -> torch.Tensor:
    """The mean loss of all examples and twice the term of those drawn, which alone are read again."""
    noise, masks, task = seeded(2), seeded(1), batch.task
    order = torch.randperm(batch.num_examples, generator=noise).tolist()
    size = math.ceil(batch.num_examples / 2)
    losses = [plain(model, [alone(batch, part)], masks=masks, noise=noise)[task.name] for part in (order[:size], order[size:])]
    mean = (size * losses[0] + (len(order) - size) * losses[1]) / len(order)
    return mean + 2.0 * naive_terms(model, alone(batch, order[:size]), config, seeded(1), noise)


@every_dropout
@every_divergence
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("task", CS224N.by_name)
@pytest.mark.parametrize("apart", [False, True])
def test_on_part_of_a_batch_it_is_the_plain_formula_on_that_part(
    make_batch: Make, *, task: str, dropout: str, divergence: str, pooling: str, apart: bool
) -> None:
    lengths, twice = [4, 9, 2, 9, 17], apart and task != "sst"
    batch = make_batch(task, [*lengths, *reversed(lengths)] if twice else lengths, num_examples=5)
    options = {"encoder.pair_encoding": "bi" if apart else "cross", "encoder.pooling": pooling}
    model, plain = build(**options)
    smart = {"step_size": 0.1, "noise_std": 0.01, "dropout": dropout, "divergence": divergence, "batch_share": 0.5}
    _, ours = build(enabled=True, weights=dict.fromkeys(CS224N.by_name, 2.0), **smart, **options)
    value, expected = losses(ours, model, [batch]), {task: with_part(model, plain, batch, ours.config.smart)}
    torch.testing.assert_close(value[task], expected[task], rtol=1e-5, atol=0)
    for a, b in zip(gradients(model, value), gradients(model, expected), strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm() + 1e-7
    assert ours.smart_examples == {task: 3}


def test_on_part_of_a_batch_without_step_and_noise_it_is_0(batches: list[Any]) -> None:
    model, _ = build()
    _, some = build(enabled=True, step_size=0.0, noise_std=0.0, batch_share=0.5)
    _, none = build(enabled=True, step_size=0.0, noise_std=0.0, batch_share=0.5, weights=dict.fromkeys(CS224N.by_name, 9.0))
    one, two = losses(some, model, batches), losses(none, model, batches)
    assert all(torch.equal(one[task], two[task]) for task in CS224N.by_name)


def test_it_works_while_the_encoder_stands_still(batches: list[Any]) -> None:
    model, smart = build(enabled=True, step_size=0.1)
    model.set_trainable("heads")
    values = losses(smart, model, batches)
    assert all(torch.isfinite(value) for value in values.values())
    assert len(gradients(model, values)) == 6
