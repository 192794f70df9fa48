"""What a step minimises, before the tasks are weighed against each other: one scalar a task."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables.config_parts import ObjectiveConfig
from trainables.data.batching import Batch
from trainables.model.multitask import MultitaskModel
from trainables.objectives.bregman import Teacher
from trainables.objectives.clean_pass import CleanPass, clean_pass, passes_for_smart
from trainables.objectives.contrastive import contrastive_loss
from trainables.objectives.distill import teacher_terms
from trainables.objectives.losses import DIVERGENCES, LOSSES
from trainables.objectives.ranking import ranking_loss
from trainables.objectives.smart import smart_terms
from trainables.tasks import Task


class Term(NamedTuple):
    """What is added to a task's loss.

    Attributes:
        weight: its factor.
        function: that computes it, its constants bound (`functools.partial`).
    """

    weight: float
    function: Callable[..., Any]


class Objective:
    """Mean loss of each task's batch, and what is added to it where it is on.

    `loss + contrastive.weights * contrastive_loss + ranking.weights * ranking_loss + smart.weights * SMART's term
    + distill.gamma * divergence from the task's teacher + bregman.mu * divergence from the moving average`.

    Args:
        config: the trial's `objective`.

    Attributes:
        added: of each task that has had a turn, the names of the terms in its last loss.
        smart_examples: of each task that has had SMART's passes, of how many examples they were in the last of its steps.
    """

    def __init__(self, config: ObjectiveConfig) -> None:
        self.config = config
        self.added: dict[str, list[str]] = {}
        self.smart_examples: dict[str, int] = {}
        self._terms: dict[str, dict[str, Term]] = {}
        self._smart = partial(smart_terms, config=config.smart)

    def terms_of(self, task: Task) -> dict[str, Term]:
        """By name what a call adds up of a task, and nothing else: `loss` and the terms that are on, in the order of the sum.

        `distill` comes to batches with outputs of a teacher alone.
        """
        if task.name not in self._terms:
            self._terms[task.name] = {name: term for name, term in self._all_terms(task) if term.weight}
        return self._terms[task.name]

    def _all_terms(self, task: Task) -> Iterator[tuple[str, Term]]:
        config, name = self.config, task.name
        smart, contrastive, ranking = config.smart, config.contrastive, config.ranking
        yield "loss", Term(1.0, LOSSES[config.losses[name]][task.target])
        yield "contrastive", Term(contrastive.weights[name], partial(contrastive_loss, task=task, margin=contrastive.margin))
        yield "ranking", Term(ranking.weights[name], partial(ranking_loss, task=task, scale=ranking.scale))
        yield "smart", Term(smart.weights[name] if smart.enabled else 0.0, self._smart)
        yield "distill", Term(config.distill.gamma, partial(teacher_terms, divergence=smart.divergence))
        yield "bregman", Term(config.bregman.mu, DIVERGENCES[smart.divergence][task.target])

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
            noise: generator of SMART's starting noise, and of the examples that it is computed of.
            teacher: of the Bregman step; None: none.
        """
        terms = {batch.task.name: self.terms_of(batch.task) for batch in batches}
        smart = next((of_task["smart"].function for of_task in terms.values() if "smart" in of_task), None)
        if smart is None:
            clean, kept = clean_pass(model, batches, masks), None
        else:
            clean, kept = passes_for_smart(model, batches, config=self.config.smart, masks=masks, noise=noise)
        values = {batch.task.name: _of_batch(terms[batch.task.name], batch, clean) for batch in batches}
        if smart is not None and kept is not None:
            moved = smart(model, kept.batches, kept.predictions, kept.embeddings, masks=kept.masks, noise=noise)
            for batch in kept.batches:
                values[batch.task.name]["smart"] = moved[batch.task.name]
                self.smart_examples[batch.task.name] = batch.num_examples
        if teacher is not None:
            references = teacher.predict(batches)
            for task, of_task in values.items():
                if "bregman" in terms[task]:
                    of_task["bregman"] = terms[task]["bregman"].function(clean.predictions[task], references[task]).mean()
        return {task: self._sum(task, values[task]) for task in terms}

    def _sum(self, task: str, values: Mapping[str, Tensor]) -> Tensor:
        """The task's loss, of the values of its terms; those that it has none of are passed over."""
        terms = {name: term for name, term in self._terms[task].items() if name in values}
        self.added[task] = list(terms)
        first, *others = (term.weight * values[name] for name, term in terms.items())
        return sum(others, start=first)


def _of_batch(terms: Mapping[str, Term], batch: Batch, clean: CleanPass) -> dict[str, Tensor]:
    """Scalars by the names of the terms that need no further pass of a model."""
    task = batch.task.name
    inner = clean.predictions[task]
    assert batch.labels is not None
    labels = batch.labels.to(inner.device)
    values = {"loss": terms["loss"].function(inner, labels).mean()}
    for name in ("contrastive", "ranking"):
        if name in terms:
            values[name] = terms[name].function(clean.sentences[task], labels).mean()
    if "distill" in terms and batch.teacher is not None:
        values["distill"] = terms["distill"].function(clean.predictions, [batch])[task]
    return values
