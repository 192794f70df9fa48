import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from trainables.model.multitask import MultitaskModel
from trainables.objectives.bregman import Teacher
from trainables.objectives.contrastive import contrastive_loss
from trainables.objectives.losses import LOSSES
from trainables.objectives.objective import Objective

Make = Callable[..., Any]
Build = Callable[..., tuple[MultitaskModel, Objective]]


def losses(objective: Objective, model: MultitaskModel, batches: list[Any]) -> dict[str, torch.Tensor]:
    return objective(model, batches, masks=None, noise=torch.Generator())


def test_it_is_each_batchs_mean_loss(build: Build, make_batch: Make) -> None:
    model, objective = build()
    batches = [make_batch("sst", [4, 9, 2]), make_batch("sts", [7, 7])]
    out = losses(objective, model, batches)
    predictions = model(batches, generator=None)
    assert list(out) == ["sst", "sts"]
    for batch in batches:
        expected = LOSSES["default"][batch.task.target](predictions[batch.task.name], batch.labels).mean()
        torch.testing.assert_close(out[batch.task.name], expected)


def test_each_task_has_the_loss_that_its_config_names(build: Build, make_batch: Make) -> None:
    model, plain = build()
    _, ordered = build(**{"objective.losses.sst": "ordered_cross_entropy"})
    batches = [make_batch("sst", [4, 9, 2]), make_batch("sts", [7, 7])]
    one, two = losses(plain, model, batches), losses(ordered, model, batches)
    predictions = model(batches, generator=None)["sst"]
    torch.testing.assert_close(two["sst"], LOSSES["ordered_cross_entropy"]["classes"](predictions, batches[0].labels).mean())
    assert two["sst"] > one["sst"]
    assert torch.equal(one["sts"], two["sts"])


APART = {"encoder.pair_encoding": "bi", "encoder.pooling": "mean"}
PULLED = {"objective.contrastive.weights": {"qqp": 3.0}, "objective.contrastive.margin": 0.4}


def test_contrastive_losses_are_added_with_their_weights_on_the_models_own_sentences(build: Build, make_batch: Make) -> None:
    model, plain = build(**APART)
    _, pulled = build(**APART, **PULLED)
    batches = [
        make_batch("sst", [3, 8]),
        make_batch("qqp", [4, 9, 2, 5], num_examples=2),
        make_batch("sts", [7, 6], num_examples=1),
    ]
    one, two = losses(plain, model, batches), losses(pulled, model, batches)
    sentences: dict[str, torch.Tensor] = {}
    model(batches, generator=None, sentences=sentences)
    assert {name: len(inner) for name, inner in sentences.items()} == {"sst": 2, "qqp": 4, "sts": 2}
    batch = batches[1]
    term = contrastive_loss(sentences["qqp"], batch.labels, task=batch.task, margin=0.4).mean()
    assert term > 0
    torch.testing.assert_close(two["qqp"], one["qqp"] + 3 * term)
    assert torch.equal(one["sst"], two["sst"])
    assert torch.equal(one["sts"], two["sts"])


def test_a_contrastive_step_brings_sentences_of_one_meaning_together(build: Build, make_batch: Make) -> None:
    model, plain = build(**APART)
    _, pulled = build(**APART, **PULLED)
    batch = make_batch("qqp", [4, 9], num_examples=1)
    batch.labels.fill_(1.0)

    def cosine() -> torch.Tensor:
        sentences: dict[str, torch.Tensor] = {}
        model([batch], generator=None, sentences=sentences)
        return torch.cosine_similarity(*sentences["qqp"].chunk(2))

    before = cosine()
    (losses(pulled, model, [batch])["qqp"] - losses(plain, model, [batch])["qqp"]).backward()
    with torch.no_grad():
        for weight in model.encoder.parameters():
            if weight.grad is not None:
                weight.sub_(weight.grad, alpha=1e-2)
    assert cosine() > before


def test_smart_at_radius_0_leaves_the_contrastive_loss_in_the_sum(build: Build, make_batch: Make) -> None:
    model, pulled = build(**APART, **PULLED)
    still = {"objective.smart.enabled": True, "objective.smart.step_size": 0.0, "objective.smart.noise_std": 0.0}
    _, both = build(**APART, **PULLED, **still)
    batch = make_batch("qqp", [4, 9], num_examples=1)
    assert torch.equal(losses(both, model, [batch])["qqp"], losses(pulled, model, [batch])["qqp"])


def test_the_terms_that_can_be_read_are_those_that_a_call_adds(build: Build, make_batch: Make) -> None:
    on = {"objective.ranking.weights.qqp": 0.5, "objective.smart.enabled": True, "objective.bregman.mu": 2.0}
    model, objective = build(**APART, **PULLED, **on, **{"objective.distill.gamma": 1.5})
    batch = dataclasses.replace(make_batch("qqp", [4, 9, 6, 3], num_examples=2), teacher=torch.tensor([2.0, -1.0]))
    batch.labels.fill_(1.0)
    average = Teacher(model, objective.config.bregman)
    with torch.no_grad():
        for weight in average.model.heads.parameters():
            weight.add_(0.1)

    def loss() -> float:
        return objective(model, [batch], masks=None, noise=torch.Generator().manual_seed(1), teacher=average)["qqp"].item()

    plain = loss()
    terms = objective.terms_of(batch.task)
    weights = {"loss": 1.0, "contrastive": 3.0, "ranking": 0.5, "smart": 1.0, "distill": 1.5, "bregman": 2.0}
    assert {name: term.weight for name, term in terms.items()} == weights
    assert objective.added == {"qqp": list(weights)}
    for name, term in list(terms.items()):
        terms[name] = term._replace(weight=100 * term.weight)
        assert loss() > plain, name
        terms[name] = term
    assert loss() == plain


def test_a_term_is_added_where_it_is_on_and_has_what_it_needs(build: Build, make_batch: Make) -> None:
    model, objective = build(**{"objective.smart.enabled": True, "objective.smart.weights.sst": 0.0})
    losses(objective, model, [make_batch("sst", [4, 9, 2]), make_batch("sts", [7, 7])])
    assert objective.added == {"sst": ["loss"], "sts": ["loss", "smart"]}
    losses(objective, model, [dataclasses.replace(make_batch("sst", [4]), teacher=torch.zeros(1, 5))])
    assert objective.added == {"sst": ["loss", "distill"], "sts": ["loss", "smart"]}
