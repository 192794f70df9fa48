from collections.abc import Callable
from typing import Any

import torch

from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.model.multitask import MultitaskModel
from trainables.objectives.contrastive import contrastive_loss
from trainables.objectives.losses import LOSSES
from trainables.objectives.objective import Objective

Make = Callable[..., Any]


def build(**options: Any) -> tuple[MultitaskModel, Objective]:
    config = TrialConfig().override({"encoder.name": "tiny", **options})
    model = MultitaskModel(config, find_encoder("tiny"), torch.Generator().manual_seed(0))
    return model, Objective(config.objective)


def losses(objective: Objective, model: MultitaskModel, batches: list[Any]) -> dict[str, torch.Tensor]:
    return objective(model, batches, masks=None, noise=torch.Generator())


def test_it_is_each_batchs_mean_loss(make_batch: Make) -> None:
    model, objective = build()
    batches = [make_batch("sst", [4, 9, 2]), make_batch("sts", [7, 7])]
    out = losses(objective, model, batches)
    predictions = model(batches, generator=None)
    assert list(out) == ["sst", "sts"]
    for batch in batches:
        expected = LOSSES["default"][batch.task.target](predictions[batch.task.name], batch.labels).mean()
        torch.testing.assert_close(out[batch.task.name], expected)


def test_each_task_has_the_loss_that_its_config_names(make_batch: Make) -> None:
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


def test_contrastive_losses_are_added_with_their_weights_on_the_models_own_sentences(make_batch: Make) -> None:
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


def test_a_contrastive_step_brings_sentences_of_one_meaning_together(make_batch: Make) -> None:
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


def test_smart_at_radius_0_leaves_the_contrastive_loss_in_the_sum(make_batch: Make) -> None:
    model, pulled = build(**APART, **PULLED)
    still = {"objective.smart.enabled": True, "objective.smart.step_size": 0.0, "objective.smart.noise_std": 0.0}
    _, both = build(**APART, **PULLED, **still)
    batch = make_batch("qqp", [4, 9], num_examples=1)
    assert torch.equal(losses(both, model, [batch])["qqp"], losses(pulled, model, [batch])["qqp"])
