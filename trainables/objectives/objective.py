"""What a step minimises, before the tasks are weighed against each other: one scalar a task."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.config import ObjectiveConfig
from trainables.data.batching import Batch
from trainables.model.multitask import MultitaskModel
from trainables.objectives.losses import LOSSES
from trainables.objectives.smart import smart_terms


class Objective:
    """Mean loss of each task's batch, plus lambda times SMART's regularizer where that is on.

    Args:
        config: the trial's `objective`.
    """

    def __init__(self, config: ObjectiveConfig) -> None:
        self.config = config

    def __call__(
        self, model: MultitaskModel, batches: Sequence[Batch], *, masks: torch.Generator | None, noise: torch.Generator
    ) -> dict[str, Tensor]:
        """The scalar loss of each task.

        Args:
            model: of the trial.
            batches: of different tasks, with labels.
            masks: generator of the dropout masks; None: no dropout.
            noise: generator of SMART's starting noise.
        """
        smart = self.config.smart
        if not smart.enabled or all(smart.weights[batch.task.name] == 0 for batch in batches):
            return _plain_losses(model(batches, generator=masks), batches)
        masks_state = None if masks is None else masks.get_state()
        embeddings = model.embed(batches)
        clean = model(batches, generator=masks, embeddings=embeddings)
        terms = smart_terms(model, batches, clean, embeddings, config=smart, masks=masks, masks_state=masks_state, noise=noise)
        plain = _plain_losses(clean, batches)
        return {task: loss + smart.weights[task] * terms[task] for task, loss in plain.items()}


def _plain_losses(predictions: dict[str, Tensor], batches: Sequence[Batch]) -> dict[str, Tensor]:
    losses = {}
    for batch in batches:
        assert batch.labels is not None
        inner = predictions[batch.task.name]
        losses[batch.task.name] = LOSSES[batch.task.target](inner, batch.labels.to(inner.device)).mean()
    return losses
