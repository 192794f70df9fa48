"""What a step of training measures, where the loop stands, and what of both goes into a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Metrics = dict[str, Any]
"""One report: plain numbers by name, and under `confirm` a tree of plain values (see `Trainer.advance`)."""


@dataclass
class Position:
    """How far the loop has come; with weights, optimizer, generators and history, all of its state.

    Attributes:
        examples: training examples seen.
        tokens: tokens of those.
        step: optimizer steps.
        phase: number of the phase of the last step.
        step_in_phase: steps of that phase.
        taken: rows taken of each task.
    """

    examples: int = 0
    tokens: int = 0
    step: int = 0
    phase: int = 0
    step_in_phase: int = 0
    taken: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """What one step measured.

    Attributes:
        loss: weighted, over all of its tasks.
        task_losses: each task's, not weighted.
        grad_norm: of the model's weights, before clipping.
        lr: the encoder's learning rate.
        diagnostics: PCGrad's (see `balancing.gradients`); empty without it.
    """

    loss: float
    task_losses: dict[str, float]
    grad_norm: float
    lr: float
    diagnostics: dict[str, float]


EXPLODED = 1000.0
"""A loss so many times what it was at first, and so many times 1, is no longer that of something that learns."""

SUMMARY_KEYS = ("loss", "grad_norm", "lr")


def summary(results: Sequence[StepResult]) -> Metrics:
    """Means over steps; each task's, and PCGrad's, over the steps in which there is one."""
    out = {
        "loss": float(np.mean([result.loss for result in results])),
        "grad_norm": float(np.mean([result.grad_norm for result in results])),
        "lr": results[-1].lr,
    }
    named = [{f"loss_{task}": loss for task, loss in r.task_losses.items()} | r.diagnostics for r in results]
    for name in dict.fromkeys(name for values in named for name in values):
        out[name] = float(np.mean([values[name] for values in named if name in values]))
    return out


def explosion(results: Sequence[StepResult], first: Mapping[str, float]) -> str:
    """Which task's loss has exploded, in words; empty where none has.

    It has where its median over the steps (a single one may jump) is over a thousand, and over a thousand times that of the
    task's first step, when its head knew nothing: one that was small at first may grow to what guessing costs.

    Args:
        results: of the steps since the last report.
        first: each task's loss in its first step of all.
    """
    for task, at_first in first.items():
        losses = [result.task_losses[task] for result in results if task in result.task_losses]
        bound = EXPLODED * max(1.0, abs(at_first))
        if losses and float(np.median(losses)) > bound:
            return f"the loss of {task} has exploded: {np.median(losses):.4g}, after {at_first:.4g} in its first step"
    return ""


def fetch(*groups: Mapping[str, Tensor]) -> list[dict[str, float]]:
    """Scalars by name, fetched from the device at once."""
    tensors = [tensor for group in groups for tensor in group.values()]
    values = iter(torch.stack([tensor.to(tensors[0].dtype) for tensor in tensors]).tolist())
    return [{name: next(values) for name in group} for group in groups]


def speed(before: Position, after: Position, train_seconds: float, eval_seconds: float) -> Metrics:
    """How long it took from one position to another, and how fast that was."""
    return {
        "train_seconds": train_seconds,
        "eval_seconds": eval_seconds,
        "examples_per_second": (after.examples - before.examples) / train_seconds,
        "tokens_per_second": (after.tokens - before.tokens) / train_seconds,
    }
