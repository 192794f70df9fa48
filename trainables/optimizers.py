"""AdamW or Lion over parameter groups: encoder, weights of losses, all else; clipping; state as named tensors."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.balancing.loss_weights import LOSS_WEIGHTS, LOSS_WEIGHTS_LR
from trainables.config_parts import OptimizerConfig
from trainables.lion import Lion
from trainables.model.multitask import ENCODER, ENCODER_PAIRS
from trainables.uncompiled import AdamW

_STATE = ("step", "exp_avg", "exp_avg_sq")
_BETA2 = {"adamw": 0.999, "lion": 0.99}
_LION_LOSS_WEIGHTS_BETAS = (0.9, 0.9)
"""Of the learnt weights of losses under Lion: a sign of ten steps' gradients.

With 0.99 the way there is remembered for a hundred steps, in each of which s goes on: it went 0.7 too far (measured).
"""


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101) or `Lion` over the trainable weights.

    Biases, layer norms and learnt weights of losses are spared from decay.  AdamW's fused kernel is six times as fast on a CPU.
    A weight without a gradient (the head of a task that had no turn, an encoder that stands still) is left alone, decay included.

    Args:
        model: the names of the encoders' weights start with `encoder.` or `encoder_pairs.`, those of the weights of losses with
            `loss_weights.`, which have a rate of their own (`LOSS_WEIGHTS_LR`; under Lion betas too); all others train at the
            heads' rate.
        config: the trial's `optimizer`; the rates are set by `set_lr`.
    """
    groups: dict[tuple[str, bool], list[Tensor]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            groups.setdefault((_rate_of(name), weight.ndim > 1), []).append(weight)
    rates: dict[str, dict[str, Any]] = {
        ENCODER: {"lr_scale": 1.0},
        LOSS_WEIGHTS: {"peak_lr": LOSS_WEIGHTS_LR, **({"betas": _LION_LOSS_WEIGHTS_BETAS} if config.name == "lion" else {})},
        "": {"lr_scale": config.head_lr_scale},
    }
    optimizer = _optimizer(
        [
            {"params": weights, **rates[rate], "weight_decay": config.weight_decay if decays else 0.0}
            for (rate, decays), weights in groups.items()
        ],
        config,
    )
    rows = RowGradients()
    optimizer.register_step_pre_hook(rows.make_dense)
    optimizer.register_step_post_hook(rows.clear)
    return optimizer


def _rate_of(name: str) -> str:
    """Which part's rate a weight trains at: `encoder`, `loss_weights`, or nothing for the heads'."""
    part = name.split(".", maxsplit=1)[0]
    return ENCODER if part in (ENCODER, ENCODER_PAIRS) else LOSS_WEIGHTS if part == LOSS_WEIGHTS else ""


def _optimizer(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    betas = (config.beta1, _BETA2[config.name] if config.beta2 is None else config.beta2)
    if config.name == "lion":
        return Lion(groups, lr=config.lr, betas=betas)
    return AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=True)


class RowGradients:
    """Lets an optimizer, whose every step moves every weight, train a table whose gradient comes as a few rows.

    The rows are put into a dense gradient that is kept and of which only those rows are cleared again.  The numbers are those of
    a dense gradient; what is spared is to allocate and clear the whole table, and to read it for norm and clipping.
    """

    def __init__(self) -> None:
        self._dense: dict[Tensor, Tensor] = {}
        self._rows: dict[Tensor, Tensor] = {}

    def make_dense(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Gives each weight with a sparse gradient the dense one."""
        for weight in (weight for group in optimizer.param_groups for weight in group["params"]):
            if weight.grad is not None and weight.grad.is_sparse:
                gradient = weight.grad.coalesce()
                if weight not in self._dense:
                    self._dense[weight] = torch.zeros_like(weight)
                self._rows[weight] = gradient.indices()[0]
                weight.grad = self._dense[weight].index_copy_(0, self._rows[weight], gradient.values())

    def clear(self, *_: Any) -> None:
        """Clears the rows and takes the dense gradients away."""
        for weight, rows in self._rows.items():
            self._dense[weight].index_fill_(0, rows, 0)
            weight.grad = None
        self._rows.clear()


def clip_gradients(weights: Iterable[Tensor], max_norm: float | None) -> Tensor:
    """Scales all gradients so that their joint 2-norm is at most `max_norm` (None: leaves them).

    Returns:
        The norm before that, a scalar.

    Source: Pascanu et al. 2013 (https://arxiv.org/abs/1211.5063), algorithm 1.
    """
    values = []
    for weight in weights:
        if weight.grad is not None and weight.grad.is_sparse:
            weight.grad = weight.grad.coalesce()  # rows that occur twice must be summed before a norm is taken
            values.append(weight.grad.values())
        elif weight.grad is not None:
            values.append(weight.grad)
    norm = torch.nn.utils.get_total_norm(values, foreach=True)
    if max_norm is not None:
        torch._foreach_mul_(values, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def set_lr(optimizer: torch.optim.Optimizer, lr: float, factor: float) -> None:
    """Sets the learning rate of each group.

    Args:
        optimizer: made by `build_optimizer`.
        lr: of the encoder in this step; the heads follow at `head_lr_scale` times it.
        factor: the schedule's in this step, in [0, 1], which a group with a rate of its own follows.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor if "peak_lr" in group else lr * group["lr_scale"]


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as tensors named `exp_avg.encoder.layers.0.query.weight`; empty before the first step."""
    return {
        f"{key}.{name}": tensor
        for name, weight in model.named_parameters()
        for key, tensor in optimizer.state.get(weight, {}).items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimizer_tensors` gave."""
    optimizer.state.clear()
    for name, weight in model.named_parameters():
        # Cloned off the mapped file: an aligned copy gives the same last digits as the tensor that was saved.
        names = {key: f"{key}.{name}" for key in _STATE if f"{key}.{name}" in tensors}
        if names:
            optimizer.state[weight] = {key: tensors[full].to(weight.device, copy=True) for key, full in names.items()}
