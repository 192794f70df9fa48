"""Torch's optimizers without torch's compiler, which they import though nothing is compiled: 1.6 s and 140 MB a process."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

_Base = torch.optim.Optimizer


class Uncompiled(_Base):
    """An optimizer whose methods are those of torch, without what torch wraps around them to keep its compiler out."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's."""
        inspect.unwrap(_Base.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's."""
        inspect.unwrap(_Base.zero_grad)(self, set_to_none)


class AdamW(Uncompiled, torch.optim.AdamW):
    """Torch's, step for step.  It is never differentiated through."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """As torch's.  There is no closure."""
        assert closure is None, "losses are computed outside"
        inspect.unwrap(torch.optim.AdamW.step)(self)
