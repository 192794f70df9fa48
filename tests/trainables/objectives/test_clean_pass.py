from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainables.config_parts import SmartConfig
from trainables.objectives.clean_pass import clean_pass, kept_pass, passes_for_smart

Make = Callable[..., Any]
APART = {"encoder.pair_encoding": "bi", "encoder.copies": "singles_and_pairs", "heads.sst.kind": "conv1d"}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_tasks(make_batch: Make, *, apart: bool) -> list[Any]:
    pairs = {"qqp": [30, 3, 8, 8], "sts": [7, 7]}
    apart_too = {task: [*lengths, *(length + 1 for length in lengths)] if apart else lengths for task, lengths in pairs.items()}
    others = [make_batch(task, lengths, num_examples=len(pairs[task])) for task, lengths in apart_too.items()]
    return [make_batch("sst", [4, 9, 2]), *others]


@pytest.mark.parametrize("options", [{}, {"encoder.pooling": "mean"}, APART], ids=["cls", "mean", "apart"])
def test_two_passes_give_each_example_what_one_gives(
    build: Callable[..., Any], make_batch: Make, options: dict[str, Any]
) -> None:
    model, _ = build(**options)
    batches = of_tasks(make_batch, apart="encoder.pair_encoding" in options)
    whole = clean_pass(model, batches, None)
    both, kept = passes_for_smart(model, batches, config=SmartConfig(batch_share=0.4), masks=None, noise=seeded(0))
    assert [batch.num_examples for batch in kept.batches] == [2, 2, 1]
    assert both.batches is batches
    for ours, expected in ((both.predictions, whole.predictions), (both.sentences, whole.sentences)):
        assert list(ours) == list(expected)
        for task, rows in expected.items():
            torch.testing.assert_close(ours[task], rows)


def test_of_all_examples_it_is_one_pass_that_draws_nothing(build: Callable[..., Any], make_batch: Make) -> None:
    model, _ = build(**{"encoder.dropout": 0.3})
    batches, noise = of_tasks(make_batch, apart=False), seeded(0)
    for share in (1.0, 0.9):  # of 3, 4 and 2 examples, rounded up
        whole, kept = passes_for_smart(model, batches, config=SmartConfig(batch_share=share), masks=seeded(1), noise=noise)
        assert whole is kept
        plain = clean_pass(model, batches, seeded(1))
        assert all(torch.equal(kept.predictions[task], rows) for task, rows in plain.predictions.items())
    assert torch.equal(noise.get_state(), seeded(0).get_state())


def test_a_task_may_have_no_others(build: Callable[..., Any], make_batch: Make) -> None:
    model, _ = build()
    batches = [make_batch("sst", [5]), make_batch("sts", [7, 7, 4])]
    both, kept = passes_for_smart(model, batches, config=SmartConfig(batch_share=0.5), masks=None, noise=seeded(0))
    assert [batch.num_examples for batch in kept.batches] == [1, 2]
    torch.testing.assert_close(both.predictions["sst"], clean_pass(model, batches, None).predictions["sst"])


def test_a_kept_pass_can_be_had_again(build: Callable[..., Any], make_batch: Make) -> None:
    model, _ = build(**{"encoder.dropout": 0.3})
    kept = kept_pass(model, of_tasks(make_batch, apart=False), seeded(1))
    assert kept.masks is not None
    kept.masks.begin_again()
    again = model(kept.batches, generator=kept.masks, embeddings=kept.embeddings)
    assert all(torch.equal(again[task], rows) for task, rows in kept.predictions.items())


def test_every_example_is_drawn_as_often(build: Callable[..., Any], make_batch: Make) -> None:
    """So that the mean over those drawn is, on average over the draws, the mean over all."""
    model, _ = build()
    lengths, noise, drawn = [2, 3, 4, 5, 6], seeded(0), Counter[int]()
    for _ in range(200):
        config = SmartConfig(batch_share=0.4)
        _, kept = passes_for_smart(model, [make_batch("sst", lengths)], config=config, masks=None, noise=noise)
        drawn.update(kept.batches[0].lengths.tolist())
    assert sum(drawn.values()) == 400
    assert all(55 <= drawn[length] <= 105 for length in lengths)  # 80 on average, deviation 7
