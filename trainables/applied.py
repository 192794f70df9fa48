"""What a trial really trains with, read back from the live objects of its first step.

A setting that is searched but never arrives looks like one that makes no difference; what arrived stands in the ledger, beside
the config.

Where nothing but the config can be asked, it is what the trial goes on to read: tasks, share of rows and what moves in phases
that have not begun, whether a task without a turn yet has a teacher, and SMART's constants, which are given to it whole.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from trainables.balancing.loss_weights import LossWeights
from trainables.balancing.task_schedules import TASK_SCHEDULES, Turn
from trainables.config_parts import PhaseConfig, SmartConfig
from trainables.data.batching import Batch
from trainables.model.lora import LoraLinear, adapters
from trainables.model.multitask import MultitaskModel
from trainables.objectives.objective import Objective, Term
from trainables.tasks import Task

PROGRESS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.98)
"""Where in a phase the course of the learning rate is read."""


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
        "gradients": "apart" if is_apart else "summed",
        "lr": [lr_at(progress) for progress in PROGRESS],
    }


def applied_turn(turn: Turn) -> dict[str, Any]:
    """Of the step's phase: its training examples, its epochs, and rows of each task in one round over whole data sets.

    `epoch_examples` is None where all epochs are equally long.
    """
    epochs = {"epochs": turn.epochs, "epoch_examples": turn.epoch_examples}
    return {"num_examples": turn.num_examples, **epochs, "rows_a_round": dict(turn.rows_a_round)}


def applied_phases(
    phases: Sequence[PhaseConfig], ends: Sequence[int], lr_at: Callable[[PhaseConfig, float], float]
) -> list[dict[str, Any]]:
    """Every phase: the examples of the run at which it ends, and the encoder's rate at `PROGRESS`; the rest is the phase itself.

    Args:
        phases: that the trainer goes through.
        ends: of each, in examples, as the trainer computes them.
        lr_at: the rate in a phase at a share of it, as the trainer computes it.
    """
    return [
        {
            "ends": end,
            "lr": [lr_at(phase, progress) for progress in PROGRESS],
            "tasks": list(phase.tasks),
            "task_schedule": TASK_SCHEDULES[phase.task_schedule].__name__,
            "round_share": dict(phase.round_share),
            "trainable": phase.trainable,
            "frozen_layers": phase.frozen_layers,
        }
        for phase, end in zip(phases, ends, strict=True)
    ]


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
    """Encoders, heads, how many weights there are and may move, and the 2-norm of the gradient that is left after clipping."""
    return {
        "gradient_norm": _gradient_norm(model),
        "num_weights": _count(model),
        "num_trainable": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        "encoders": {
            name: {
                "layers": len(encoder.layers),
                "frozen_layers": encoder.frozen_layers,
                "dropout": encoder.dropout,
                "adapter_weights": sum(weight.numel() for weight in adapters(encoder).values()),
                "adapter_scales": sorted({layer.scale for layer in encoder.modules() if isinstance(layer, LoraLinear)}),
            }
            for name, encoder in model.encoders.items()
        },
        "heads": {name: _head(head) for name, head in model.heads.items()},
    }


def applied_objective(objective: Objective, tasks: Sequence[Task]) -> dict[str, Any]:
    """Of each task the functions that a step calls for its loss, with weights and constants; and what this step has added.

    `smart_examples`: of how many of its examples SMART's passes were.
    """
    terms = {task.name: dict(objective.terms_of(task)) for task in tasks}
    for task, of_task in terms.items():
        if not _is_taught(objective, task):
            of_task.pop("distill", None)
    return {
        "terms": {task: {name: _term(term) for name, term in of_task.items()} for task, of_task in terms.items()},
        "added": {task: list(names) for task, names in objective.added.items()},
        "smart_examples": dict(objective.smart_examples),
    }


@torch.no_grad()
def applied_weights(loss_weights: LossWeights, tasks: Sequence[str]) -> dict[str, Any]:
    """What a loss of 1 of each task counts in this step, and how many weights are learnt."""
    device = next(loss_weights.parameters(), torch.zeros(())).device
    one = torch.ones((), device=device)
    return {"of_one": {task: float(loss_weights({task: one})) for task in tasks}, "num_learnt": _count(loss_weights)}


def _is_taught(objective: Objective, task: str) -> bool:
    """Whether a teacher's term was added; of a task without a turn in this step, whether its config names one."""
    added = objective.added.get(task)
    return objective.config.distill.teachers[task] is not None if added is None else "distill" in added


def _term(term: Term) -> dict[str, Any]:
    """A term's function, its weight, and the constants that are bound to it; SMART's are those of its settings."""
    bound = term.function.keywords if isinstance(term.function, partial) else {}
    function = term.function.func if isinstance(term.function, partial) else term.function
    constants = {name: value for name, value in bound.items() if isinstance(value, str | float)}
    for settings in (value for value in bound.values() if isinstance(value, SmartConfig)):
        constants |= settings.model_dump(mode="json", exclude={"enabled", "weights"})
    return {"function": _name(function), "weight": term.weight, **constants}


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


def _gradient_norm(model: nn.Module) -> float:
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    values = [gradient.coalesce().values() if gradient.is_sparse else gradient for gradient in gradients]
    return float(torch.nn.utils.get_total_norm(values))


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _num_cls(batch: Batch) -> int:
    """How many tokens at the start of the first sequence are the same."""
    first = batch.token_ids[: int(batch.lengths[0])].tolist()
    return next((place for place, token in enumerate(first) if token != first[0]), len(first))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
