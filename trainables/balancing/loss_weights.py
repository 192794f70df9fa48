"""How the losses of a step's tasks meet in one number."""

from collections.abc import Mapping

import torch
from torch import Tensor


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """`sum_t weights[t] * losses[t]` over the tasks of the step, a scalar."""
    return torch.stack([weights[task] * loss for task, loss in losses.items()]).sum()
