import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.model.multitask import MultitaskModel

Make = Callable[..., Any]


def build(**values: Any) -> MultitaskModel:
    config = TrialConfig().override({"encoder.name": "tiny", **{key.replace("__", "."): value for key, value in values.items()}})
    return MultitaskModel(config, find_encoder("tiny"), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_one_pass_over_all_tasks_equals_a_pass_for_each(make_batch: Make, pooling: str) -> None:
    model = build(encoder__pooling=pooling)
    batches = [make_batch("sst", [4, 9, 2]), make_batch("qqp", [30, 3]), make_batch("sts", [7, 7, 7, 1])]
    together = model(batches, generator=None)
    assert {name: tuple(out.shape) for name, out in together.items()} == {"sst": (3, 5), "qqp": (2,), "sts": (4,)}
    for batch in batches:
        alone = model([batch], generator=None)[batch.task.name]
        torch.testing.assert_close(alone, together[batch.task.name], rtol=1e-4, atol=1e-5)


def test_an_example_is_alone_in_its_batch(make_batch: Make, pieces_of: Make) -> None:
    model, batch = build(), make_batch("sst", [4, 9, 2, 20])
    alone = torch.cat([model([piece], generator=None)["sst"] for piece in pieces_of(batch)])
    torch.testing.assert_close(alone, model([batch], generator=None)["sst"], rtol=1e-4, atol=1e-5)


def test_pairs_read_apart_join_first_and_second_sentences(make_batch: Make) -> None:
    model = build(encoder__pair_encoding="bi")
    batch = make_batch("qqp", [4, 9, 2, 5, 6, 7], num_examples=3)
    out = model([batch], generator=None)["qqp"]
    assert out.shape == (3,)
    # The last pair alone: its sentences are sequences 2 and 5.
    ends = np.cumsum(batch.lengths)
    ids = torch.cat([batch.token_ids[ends[i] - batch.lengths[i] : ends[i]] for i in (2, 5)])
    segments = torch.cat([batch.segment_ids[ends[i] - batch.lengths[i] : ends[i]] for i in (2, 5)])
    pair = dataclasses.replace(
        batch, token_ids=ids, segment_ids=segments, lengths=batch.lengths[[2, 5]], num_examples=1, labels=None
    )
    torch.testing.assert_close(model([pair], generator=None)["qqp"], out[2:], rtol=1e-4, atol=1e-5)


def test_heads_alone_leave_the_encoder_without_gradient_and_dropout(make_batch: Make) -> None:
    model, batch = build(), make_batch("sst", [4, 9])
    model.set_trainable("heads")
    model([batch], generator=torch.Generator())["sst"].sum().backward()
    assert all(weight.grad is None for weight in model.encoder.parameters())
    assert model.heads["sst"].output.weight.grad is not None
    state = torch.Generator().manual_seed(0)
    model.heads["sst"].dropout = 0.0
    assert torch.equal(model([batch], generator=state)["sst"], model([batch], generator=None)["sst"])
    model.set_trainable("everything")
    assert not torch.equal(model([batch], generator=state)["sst"], model([batch], generator=None)["sst"])
    assert all(weight.requires_grad for name, weight in model.encoder.named_parameters() if "pooler" not in name)


def test_a_task_without_a_turn_gets_no_gradient(make_batch: Make) -> None:
    model = build()
    model([make_batch("sst", [4, 9])], generator=None)["sst"].sum().backward()
    assert model.heads["qqp"].output.weight.grad is None
    assert model.heads["sst"].output.weight.grad is not None
