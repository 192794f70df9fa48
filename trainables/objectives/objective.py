"""What a step minimises, before the tasks are weighed against each other: one scalar a task."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainables.config_parts import ObjectiveConfig
from trainables.data.batching import Batch
from trainables.model.multitask import MultitaskModel
from trainables.objectives.bregman import Teacher
from trainables.objectives.contrastive import contrastive_loss
from trainables.objectives.distill import teacher_terms
from trainables.objectives.losses import LOSSES, divergences
from trainables.objectives.ranking import ranking_loss
from trainables.objectives.smart import smart_terms


class Objective:
    """Mean loss of each task's batch, and what is added to it where it is on.

    `loss + contrastive.weights * contrastive_loss + ranking.weights * ranking_loss + smart.weights * SMART's term
    + distill.gamma * divergence from the task's teacher + bregman.mu * divergence from the moving average`.

    Args:
        config: the trial's `objective`.
    """

    def __init__(self, config: ObjectiveConfig) -> None:
        self.config = config

    def __call__(
        self,
        model: MultitaskModel,
        batches: Sequence[Batch],
        *,
        masks: torch.Generator | None,
        noise: torch.Generator,
        teacher: Teacher | None = None,
    ) -> dict[str, Tensor]:
        """The scalar loss of each task.

        Args:
            model: of the trial.
            batches: of different tasks, with labels; with outputs of a teacher where the task has one.
            masks: generator of the dropout masks; None: no dropout.
            noise: generator of SMART's starting noise.
            teacher: of the Bregman step; None: none.
        """
        with_smart = self.config.smart.enabled and any(self.config.smart.weights[batch.task.name] for batch in batches)
        masks_state = masks.get_state() if with_smart and masks is not None else None
        embeddings = model.embed(batches) if with_smart else None
        sentences: dict[str, Tensor] = {}
        clean = model(batches, generator=masks, embeddings=embeddings, sentences=sentences)
        losses = self._task_losses(clean, sentences, batches)
        if embeddings is not None:
            terms = smart_terms(
                model, batches, clean, embeddings, config=self.config.smart, masks=masks, masks_state=masks_state, noise=noise
            )
            losses = {task: loss + self.config.smart.weights[task] * terms[task] for task, loss in losses.items()}
        if gamma := self.config.distill.gamma:
            taught = teacher_terms(clean, batches, divergence=self.config.smart.divergence)
            losses = {task: loss + gamma * taught[task] if task in taught else loss for task, loss in losses.items()}
        if teacher is not None:
            tasks = [batch.task for batch in batches]
            drift = divergences(self.config.smart.divergence, tasks, clean, teacher.predict(batches))
            losses = {task: loss + self.config.bregman.mu * drift[task] for task, loss in losses.items()}
        return losses

    def _task_losses(
        self, predictions: Mapping[str, Tensor], sentences: Mapping[str, Tensor], batches: Sequence[Batch]
    ) -> dict[str, Tensor]:
        losses = {}
        for batch in batches:
            task, inner = batch.task, predictions[batch.task.name]
            assert batch.labels is not None
            labels = batch.labels.to(inner.device)
            losses[task.name] = LOSSES[self.config.losses[task.name]][task.target](inner, labels).mean()
            if weight := self.config.contrastive.weights[task.name]:
                pulls = contrastive_loss(sentences[task.name], labels, task=task, margin=self.config.contrastive.margin)
                losses[task.name] = losses[task.name] + weight * pulls.mean()
            if weight := self.config.ranking.weights[task.name]:
                ranking = ranking_loss(sentences[task.name], labels, task=task, scale=self.config.ranking.scale)
                losses[task.name] = losses[task.name] + weight * ranking
        return losses
