"""PCGrad: what conflicts between the gradients of a step's tasks is projected away.

Everything is computed from the inner products of the tasks' gradients, so that none is ever copied.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

Gradients = list[Tensor | None]
"""A gradient for each of some weights, dense or as rows; None where the loss does not reach the weight."""


def take_gradients(weights: Sequence[Tensor]) -> Gradients:
    """The weights' gradients, which are taken away from them."""
    gradients = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    return gradients


@torch.no_grad()
def pcgrad(weights: Sequence[Tensor], gradients: Mapping[str, Gradients], rng: np.random.Generator) -> dict[str, Tensor]:
    """Sets the weights' gradients to the sum of the tasks' ones, each projected off those it conflicts with.

    Each task's gradient g_i goes through the others' in random order: `g_i <- g_i - (g_i . g_j) / |g_j|^2 g_j` where
    `g_i . g_j < 0`, with g_j as it was at the start.  Over the shared weights: those that more than one task's loss reaches.  The
    others (heads) keep the gradient that they have.

    Args:
        weights: all that train.
        gradients: of each task, for `weights`; used up, since the sum is written over the first one's.
        rng: of the order of the projections.

    Returns:
        `conflict_share`: share in [0, 1] of the pairs of tasks with `g_i . g_j < 0`; `gradient_change_<task>`: change in [-1, 0]
        of its gradient's norm by the projections, over the norm; both scalars.  Empty where no weight is shared.

    Source: Yu et al. 2020 (https://arxiv.org/abs/2001.06782), algorithm 1; diagnostics: `best_fit`, section 6.1, which counts
    projections, not pairs.  Its 1350 pairings a step, 6 ordered pairs of tasks times 225, say that it projected each weight's
    tensor by itself: its 32 % of projections and 25 % of change do not compare with these shares of whole gradients.
    """
    shared: list[list[Tensor]] = [[] for _ in gradients]
    targets: list[tuple[Tensor, Tensor | None]] = []
    for weight, *of_tasks in zip(weights, *gradients.values(), strict=True):
        reached = [gradient for gradient in of_tasks if gradient is not None]
        if len(reached) < 2:
            weight.grad = reached[0] if reached else None
            continue
        rows, dense = _dense(of_tasks)
        targets.append((weight, rows))
        for task, gradient in zip(shared, dense, strict=True):
            task.append(gradient)
    if not targets:
        return {}
    gramian = _gramian(shared)
    factors = projections(gramian, rng)
    for (weight, rows), gradient in zip(targets, _combine(shared, factors.sum(0)), strict=True):
        weight.grad = gradient if rows is None else _of_rows(rows, gradient, weight.shape)
    return _diagnostics(list(gradients), gramian, factors)


def projections(gramian: Tensor, rng: np.random.Generator) -> Tensor:
    """What PCGrad makes of gradients with these inner products: row i says `g_i' = sum_j out[i, j] g_j`.

    Args:
        gramian: float64 `[num_tasks, num_tasks]`, inner products.
        rng: of the order of the projections, one permutation for each task.

    Returns:
        float64 `[num_tasks, num_tasks]`; the unit matrix where nothing conflicts.
    """
    out = torch.eye(len(gramian), dtype=gramian.dtype, device=gramian.device)
    squares = gramian.diagonal().clamp(min=torch.finfo(gramian.dtype).tiny)  # a gradient of 0 conflicts with none
    for task, factors in enumerate(out):
        others = [other for other in range(len(gramian)) if other != task]
        for other in rng.permutation(others).tolist():
            factors[other] -= (gramian[other] @ factors).clamp(max=0) / squares[other]
    return out


def _diagnostics(tasks: Sequence[str], gramian: Tensor, factors: Tensor) -> dict[str, Tensor]:
    one, other = torch.triu_indices(len(tasks), len(tasks), offset=1, device=gramian.device)
    before = gramian.diagonal().sqrt()
    after = ((factors @ gramian) * factors).sum(1).clamp(min=0).sqrt()
    changes = torch.where(before == 0, 0.0, after / before - 1)
    by_task = {f"gradient_change_{task}": change for task, change in zip(tasks, changes, strict=True)}
    return {"conflict_share": (gramian[one, other] < 0).to(gramian.dtype).mean(), **by_task}


def _gramian(gradients: Sequence[Sequence[Tensor]]) -> Tensor:
    """Inner products of the tasks' gradients: float64 `[num_tasks, num_tasks]`."""
    num_tasks = len(gradients)
    out = gradients[0][0].new_zeros((num_tasks, num_tasks), dtype=torch.float64)
    for i in range(num_tasks):
        for j in range(i + 1):
            products = [torch.dot(a.reshape(-1), b.reshape(-1)) for a, b in zip(gradients[i], gradients[j], strict=True)]
            out[i, j] = out[j, i] = torch.stack(products).double().sum()
    return out


def _combine(gradients: Sequence[list[Tensor]], factors: Tensor) -> list[Tensor]:
    """`sum_j factors[j] gradients[j]`, written over the gradients."""
    total, *others = gradients
    for task, factor in zip(gradients, factors.to(total[0].dtype), strict=True):
        torch._foreach_mul_(task, factor)
    for other in others:
        torch._foreach_add_(total, other)
    return total


def _dense(gradients: Sequence[Tensor | None]) -> tuple[Tensor | None, list[Tensor]]:
    """One weight's gradients as dense tensors of one shape, and the rows that they are of (None: all)."""
    some = next(gradient for gradient in gradients if gradient is not None)
    if not some.is_sparse:
        return None, [torch.zeros_like(some) if gradient is None else gradient for gradient in gradients]
    parts = [None if gradient is None else gradient.coalesce() for gradient in gradients]
    rows = torch.cat([part.indices()[0] for part in parts if part is not None]).unique()  # type: ignore[no-untyped-call]
    out = [some.new_zeros((len(rows), *some.shape[1:]), layout=torch.strided) for _ in parts]
    for dense, part in zip(out, parts, strict=True):
        if part is not None:
            dense.index_copy_(0, torch.searchsorted(rows, part.indices()[0]), part.values())
    return rows, out


def _of_rows(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=True, check_invariants=False)
