"""The pass of a step that every loss reads, and what SMART's passes after it use again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.config_parts import SmartConfig
from trainables.data.batching import Batch, part_of
from trainables.model.dropout import DrawnOnce
from trainables.model.multitask import MultitaskModel


@dataclass(frozen=True)
class CleanPass:
    """What a pass of the model gave.

    Attributes:
        batches: that it read.
        predictions: of each task, as the model gives them.
        sentences: of each task whose head reads them, `[num_sequences, hidden]`.
    """

    batches: Sequence[Batch]
    predictions: Mapping[str, Tensor]
    sentences: Mapping[str, Tensor]


@dataclass(frozen=True)
class KeptPass(CleanPass):
    """One that can be had again from other embeddings, under the same dropout masks.

    Attributes:
        embeddings: `[total_tokens, hidden]`, output of the embedding layer.
        masks: of its dropout; None: it had none.
    """

    embeddings: Tensor
    masks: DrawnOnce | None


def clean_pass(model: MultitaskModel, batches: Sequence[Batch], masks: torch.Generator | None) -> CleanPass:
    """One of which nothing is kept but its graph."""
    sentences: dict[str, Tensor] = {}
    return CleanPass(batches, model(batches, generator=masks, sentences=sentences), sentences)


def kept_pass(model: MultitaskModel, batches: Sequence[Batch], masks: torch.Generator | None) -> KeptPass:
    """The same numbers, and embeddings and masks beside them."""
    embeddings, drawn = model.embed(batches), None if masks is None else DrawnOnce(masks)
    sentences: dict[str, Tensor] = {}
    predictions = model(batches, generator=drawn, embeddings=embeddings, sentences=sentences)
    return KeptPass(batches, predictions, sentences, embeddings, drawn)


def passes_for_smart(
    model: MultitaskModel,
    batches: Sequence[Batch],
    *,
    config: SmartConfig,
    masks: torch.Generator | None,
    noise: torch.Generator,
) -> tuple[CleanPass, KeptPass]:
    """Predictions for all examples, and the pass of those that the regularizer is computed of.

    With a `batch_share` below 1 the batches are read in two passes, the drawn examples and the others: so the masks of the drawn
    ones are those of a pass by itself, which a perturbed pass can take as they are, and no example is read twice.

    Args:
        model: of the trial.
        batches: of different tasks.
        config: which share.
        masks: generator of the dropout masks; None: no dropout.
        noise: generator that the examples are drawn from; not touched where they are all of them.
    """
    if all(config.num_examples(batch.num_examples) == batch.num_examples for batch in batches):
        whole = kept_pass(model, batches, masks)
        return whole, whole
    orders = [torch.randperm(batch.num_examples, generator=noise, device=noise.device).cpu().numpy() for batch in batches]
    sizes = [config.num_examples(batch.num_examples) for batch in batches]
    drawn = [part_of(batch, order[:size]) for batch, order, size in zip(batches, orders, sizes, strict=True)]
    others = [part_of(b, order[size:]) for b, order, size in zip(batches, orders, sizes, strict=True) if size < len(order)]
    kept = kept_pass(model, drawn, masks)
    rest = clean_pass(model, others, masks)
    places = {batch.task.name: torch.from_numpy(np.argsort(order)) for batch, order in zip(batches, orders, strict=True)}
    predictions = _together(kept.predictions, rest.predictions, places, kept.batches)
    return CleanPass(batches, predictions, _together(kept.sentences, rest.sentences, places, kept.batches)), kept


def _together(
    drawn: Mapping[str, Tensor], others: Mapping[str, Tensor], places: Mapping[str, Tensor], batches: Sequence[Batch]
) -> dict[str, Tensor]:
    """Rows of both parts of each batch in the batch's own order; of pairs read apart all first sentences, then all second."""
    num_examples = {batch.task.name: batch.num_examples for batch in batches}
    out = {}
    for task, rows in drawn.items():
        apart = len(rows) // num_examples[task]
        parts = [part.view(apart, -1, *part.shape[1:]) for part in (rows, others.get(task)) if part is not None]
        out[task] = torch.cat(parts, dim=1)[:, places[task].to(rows.device)].flatten(0, 1)
    return out
