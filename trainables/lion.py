"""Lion, an optimizer that keeps one average a weight and steps by its sign."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from trainables.uncompiled import Uncompiled

BLOCK = 2**18
"""Numbers that are updated at a time on a CPU: what the five passes touch then stays in its cache (see docs/decisions/0008)."""


class Lion(Uncompiled):
    """Lion (Chen et al. 2023, https://arxiv.org/abs/2302.06675, algorithm 2).

    With gradient g, average m and weight w, a step is

        w <- w - lr (sign(beta1 m + (1 - beta1) g) + weight_decay w)
        m <- beta2 m + (1 - beta2) g

    m starts at 0, sign(0) is 0.  Every weight moves by `lr`, whatever the size of its gradient: rates are 3 to 10 times lower
    than AdamW's, decays as much higher (section 5 of the paper).  A weight without a gradient is not touched, decay included.

    Args:
        groups: parameter groups; each may bring its own `lr` and `weight_decay`.
        lr: learning rate, > 0.
        betas: (beta1, beta2), each in [0, 1).
        weight_decay: decoupled, >= 0.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves all weights that have a gradient, which is dense.  There is no closure."""
        assert closure is None, "losses are computed outside"
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for pieces in _pieces(weights, [weight.grad for weight in weights], [self._average(weight) for weight in weights]):
                _update(*pieces, lr=group["lr"], betas=group["betas"], weight_decay=group["weight_decay"])

    def _average(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if not state:
            state["exp_avg"] = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        average: Tensor = state["exp_avg"]
        return average


def _update(
    weights: list[Tensor],
    gradients: list[Tensor],
    averages: list[Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    beta1, beta2 = betas
    signs = torch._foreach_lerp(averages, gradients, 1 - beta1)
    torch._foreach_sign_(signs)
    torch._foreach_mul_(weights, 1 - lr * weight_decay)
    torch._foreach_add_(weights, signs, alpha=-lr)
    torch._foreach_lerp_(averages, gradients, 1 - beta2)


def _pieces(*lists: list[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """What is updated at a time: block after block on a CPU, all at once (few kernels) on an accelerator."""
    if not lists[0]:
        return
    if lists[0][0].device.type != "cpu":
        yield lists
        return
    for tensors in zip(*lists, strict=True):
        for blocks in zip(*(tensor.reshape(-1).split(BLOCK) for tensor in tensors), strict=True):
            yield tuple([block] for block in blocks)
