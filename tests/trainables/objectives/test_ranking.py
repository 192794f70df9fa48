import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.model.multitask import MultitaskModel
from trainables.objectives.objective import Objective
from trainables.objectives.ranking import are_positive, ranking_loss
from trainables.tasks import CS224N, Task

Make = Callable[..., Any]
QQP, STS = CS224N.by_name["qqp"], CS224N.by_name["sts"]
shares = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def labels_of(task: Task, values: list[float]) -> torch.Tensor:
    labels = torch.tensor(values, dtype=torch.double) * task.label_high
    return labels.round() if task is QQP else labels


def vectors(num_examples: int, seed: int) -> torch.Tensor:
    return torch.randn(2 * num_examples, 4, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def by_hand(sentences: torch.Tensor, labels: torch.Tensor, task: Task, scale: float) -> float:
    """The formula, one pair after the other, in Python's floats."""

    def cosine(one: list[float], two: list[float]) -> float:
        dot = sum(a * b for a, b in zip(one, two, strict=True))
        return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in two))

    first, second = (side.tolist() for side in sentences.chunk(2))
    losses = []
    for number, label in enumerate(labels.tolist()):
        if label >= {"qqp": 0.8, "sts": 4.0}[task.name]:
            scores = [scale * cosine(first[number], other) for other in second]
            losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[number])
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("task", [QQP, STS])
@given(shares, st.integers(0, 99), st.floats(0.1, 30))
def test_it_is_the_formula(task: Task, values: list[float], seed: int, scale: float) -> None:
    sentences, labels = vectors(len(values), seed), labels_of(task, values)
    out = ranking_loss(sentences, labels, task=task, scale=scale)
    assert out.shape == ()
    assert out >= 0
    assert out.item() == pytest.approx(by_hand(sentences, labels, task, scale), rel=1e-9, abs=1e-12)


def test_pinned_values() -> None:
    """First sentences along x; second ones along x and y: cosines 1 and 0."""
    sentences = torch.tensor([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 0.5]])
    near, far = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    for labels, expected in (([1.0, 0.0], near), ([0.0, 1.0], far), ([1.0, 1.0], (near + far) / 2)):
        out = ranking_loss(sentences, torch.tensor(labels), task=QQP, scale=2.0)
        torch.testing.assert_close(out, torch.tensor(expected))


def test_what_is_positive() -> None:
    assert are_positive(torch.tensor([0.0, 1.0]), QQP).tolist() == [False, True]
    assert are_positive(torch.tensor([0.0, 3.9, 4.0, 5.0]), STS).tolist() == [False, False, True, True]
    tens = STS.model_copy(update={"label_range": (-10.0, 0.0)})
    assert are_positive(torch.tensor([-10.0, -2.1, -2.0, 0.0]), tens).tolist() == [False, False, True, True]


@pytest.mark.parametrize("task", [QQP, STS])
@given(st.integers(1, 5), st.integers(0, 99))
def test_without_a_positive_pair_it_is_exactly_0_and_so_is_its_gradient(task: Task, num_examples: int, seed: int) -> None:
    sentences = vectors(num_examples, seed).float().requires_grad_()
    out = ranking_loss(sentences, torch.zeros(num_examples), task=task, scale=20.0)
    assert out.item() == 0
    out.backward()
    assert torch.equal(sentences.grad, torch.zeros_like(sentences))


@given(st.lists(st.booleans(), min_size=2, max_size=6), st.integers(0, 99), st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_means_nothing(values: list[bool], seed: int, chance: Any) -> None:
    sentences, labels = vectors(len(values), seed), torch.tensor(values, dtype=torch.double)
    order = list(range(len(values)))
    chance.shuffle(order)
    other = torch.cat([side[order] for side in sentences.chunk(2)])
    one, two = ranking_loss(sentences, labels, task=QQP, scale=20.0), ranking_loss(other, labels[order], task=QQP, scale=20.0)
    torch.testing.assert_close(one, two)


def test_vectors_of_length_0_and_equal_ones_have_a_finite_gradient() -> None:
    for sentences in (torch.zeros(4, 3), torch.ones(4, 3)):
        sentences.requires_grad_()
        out = ranking_loss(sentences, torch.ones(2), task=QQP, scale=20.0)
        torch.testing.assert_close(out, torch.tensor(math.log(2)))
        out.backward()
        assert torch.isfinite(sentences.grad).all()


def test_a_pair_alone_has_found_its_partner() -> None:
    assert ranking_loss(vectors(1, 0), torch.ones(1), task=QQP, scale=20.0).item() == 0


def build(**options: Any) -> tuple[MultitaskModel, Objective]:
    apart = {"encoder.name": "tiny", "encoder.pair_encoding": "bi", "encoder.pooling": "mean"}
    config = TrialConfig().override({**apart, **options})
    model = MultitaskModel(config, find_encoder("tiny"), torch.Generator().manual_seed(0))
    return model, Objective(config.objective)


def test_the_objective_adds_it_with_its_weight_on_the_models_own_sentences(make_batch: Make) -> None:
    model, plain = build()
    _, ranked = build(**{"objective.ranking.weights": {"qqp": 3.0}, "objective.ranking.scale": 7.0})
    batches = [
        make_batch("sst", [3, 8]),
        make_batch("qqp", [4, 9, 2, 5], num_examples=2),
        make_batch("sts", [7, 6], num_examples=1),
    ]
    batches[1].labels.copy_(torch.tensor([1.0, 0.0]))
    one, two = (objective(model, batches, masks=None, noise=torch.Generator()) for objective in (plain, ranked))
    sentences: dict[str, torch.Tensor] = {}
    model(batches, generator=None, sentences=sentences)
    term = ranking_loss(sentences["qqp"], batches[1].labels, task=QQP, scale=7.0)
    assert term > 0
    torch.testing.assert_close(two["qqp"], one["qqp"] + 3 * term)
    assert torch.equal(one["sst"], two["sst"])
    assert torch.equal(one["sts"], two["sts"])


def test_a_step_brings_partners_nearer_than_other_sentences(make_batch: Make) -> None:
    model, plain = build()
    _, ranked = build(**{"objective.ranking.weights": {"qqp": 1.0}})
    batch = make_batch("qqp", [4, 9, 5, 6], num_examples=2)
    batch.labels.fill_(1.0)

    def gap() -> torch.Tensor:
        sentences: dict[str, torch.Tensor] = {}
        model([batch], generator=None, sentences=sentences)
        first, second = sentences["qqp"].chunk(2)
        return (torch.cosine_similarity(first, second) - torch.cosine_similarity(first, second.flip(0))).sum()

    before = gap()
    one, two = (objective(model, [batch], masks=None, noise=torch.Generator())["qqp"] for objective in (plain, ranked))
    (two - one).backward()
    with torch.no_grad():
        for weight in model.encoder.parameters():
            if weight.grad is not None:
                weight.sub_(weight.grad, alpha=1e-3)
    assert gap() > before
