"""What a trial really trains with, read back from the live objects of its first step, not from its config.

A setting that is searched but never arrives looks like one that makes no difference; what arrived stands in the ledger, beside
the config.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from trainables.balancing.loss_weights import LossWeights
from trainables.balancing.task_schedules import TASK_SCHEDULES
from trainables.config_parts import PhaseConfig
from trainables.data.batching import Batch
from trainables.model.lora import adapters
from trainables.model.multitask import MultitaskModel
from trainables.objectives.losses import LOSSES
from trainables.objectives.objective import Objective
from trainables.tasks import Task

PROGRESS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.98)
"""Where in the first phase the course of the learning rate is read."""


def applied_schedule(phase: PhaseConfig, lr_at: Callable[[float], float], *, is_apart: bool) -> dict[str, Any]:
    """What trains in the first phase, whose turn it is when, how gradients meet, and the encoder's rate at `PROGRESS`.

    Args:
        phase: the one that the step belongs to.
        lr_at: the rate at a share of the phase, as the trainer computes it.
        is_apart: whether each task's gradient was taken by itself.
    """
    return {
        "tasks": list(phase.tasks),
        "task_schedule": TASK_SCHEDULES[phase.task_schedule].__name__,
        "epochs": phase.epochs,
        "gradients": "apart" if is_apart else "summed",
        "lr": [lr_at(progress) for progress in PROGRESS],
    }


def applied_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Class, and of each parameter group how many weights it has, this step's rate, decay, betas and eps (None: it has none)."""
    keys = ("lr", "weight_decay", "betas", "eps")
    groups = [
        {"num_weights": sum(weight.numel() for weight in group["params"]), **{key: _plain(group.get(key)) for key in keys}}
        for group in optimizer.param_groups
    ]
    return {"kind": type(optimizer).__name__, "groups": groups}


def applied_batches(batches: Sequence[Batch]) -> dict[str, Any]:
    """Of each task in this step: examples, sequences, tokens, and how many tokens of a sequence are like its first ([CLS])."""
    return {
        batch.task.name: {
            "examples": batch.num_examples,
            "sequences": len(batch.lengths),
            "tokens": len(batch.token_ids),
            "cls_tokens": _num_cls(batch),
            "has_teacher": batch.teacher is not None,
        }
        for batch in batches
    }


def applied_model(model: MultitaskModel) -> dict[str, Any]:
    """Encoders, heads, and how many weights there are and may move."""
    return {
        "num_weights": _count(model),
        "num_trainable": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        "encoders": {
            name: {
                "layers": len(encoder.layers),
                "frozen_layers": encoder.frozen_layers,
                "dropout": encoder.dropout,
                "adapter_weights": sum(weight.numel() for weight in adapters(encoder).values()),
            }
            for name, encoder in model.encoders.items()
        },
        "heads": {name: _head(head) for name, head in model.heads.items()},
    }


def applied_objective(objective: Objective, tasks: Sequence[Task]) -> dict[str, Any]:
    """The function of each task's loss, and what stands in the terms that are added to it; None for a term that is off."""
    config = objective.config
    smart, bregman, distill = config.smart, config.bregman, config.distill
    return {
        "losses": {task.name: LOSSES[config.losses[task.name]][task.target].__name__ for task in tasks},
        "smart": smart.model_dump(mode="json", exclude={"enabled"}) if smart.enabled else None,
        "bregman": bregman.model_dump(mode="json") if bregman.mu else None,
        "contrastive": config.contrastive.model_dump(mode="json") if any(config.contrastive.weights.values()) else None,
        "ranking": config.ranking.model_dump(mode="json") if any(config.ranking.weights.values()) else None,
        "distill": distill.model_dump(mode="json") if distill.gamma and any(distill.teachers.values()) else None,
    }


@torch.no_grad()
def applied_weights(loss_weights: LossWeights, tasks: Sequence[str]) -> dict[str, Any]:
    """What a loss of 1 of each task counts in this step, and how many weights are learnt."""
    device = next(loss_weights.parameters(), torch.zeros(())).device
    one = torch.ones((), device=device)
    return {"of_one": {task: float(loss_weights({task: one})) for task in tasks}, "num_learnt": _count(loss_weights)}


def _head(head: nn.Module) -> dict[str, Any]:
    pooling, activation, output = (getattr(head, name, None) for name in ("pooling", "activation", "output"))
    return {
        "kind": type(head).__name__,
        "pooling": _name(pooling),
        "activation": _name(activation),
        "output": output if isinstance(output, str) else getattr(output, "output", None),
        "dropout": _plain(getattr(head, "dropout", None)),
        "num_weights": _count(head),
    }


def _name(part: Any) -> str | None:
    if part is None:
        return None
    return str(getattr(part, "__name__", type(part).__name__))


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _num_cls(batch: Batch) -> int:
    """How many tokens at the start of the first sequence are the same."""
    first = batch.token_ids[: int(batch.lengths[0])].tolist()
    return next((place for place, token in enumerate(first) if token != first[0]), len(first))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
