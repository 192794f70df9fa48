"""The course of the learning rate over a phase: progress in [0, 1] to a factor in [0, 1].

All climb linearly from 0 to 1 within `warmup_fraction` of the phase first (the slanted triangle from 1/32).
"""

import math
from collections.abc import Callable, Mapping

SLANTED_RATIO = 32


def constant(progress: float, warmup_fraction: float) -> float:
    """1 after the warm-up."""
    return progress / warmup_fraction if progress < warmup_fraction else 1.0


def linear(progress: float, warmup_fraction: float) -> float:
    """Falls linearly to 0 at the end (Devlin et al. 2019, https://arxiv.org/abs/1810.04805, appendix A.2)."""
    return progress / warmup_fraction if progress < warmup_fraction else (1 - progress) / (1 - warmup_fraction)


def cosine(progress: float, warmup_fraction: float) -> float:
    """Falls along half a cosine to 0 (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, eq. 5 with no restart)."""
    if progress < warmup_fraction:
        return progress / warmup_fraction
    return (1 + math.cos(math.pi * (progress - warmup_fraction) / (1 - warmup_fraction))) / 2


def slanted_triangular(progress: float, warmup_fraction: float) -> float:
    """`(1 + p (ratio - 1)) / ratio` with `linear`'s triangle for p and ratio 32: never below 1/32.

    Source: Howard & Ruder 2018 (https://arxiv.org/abs/1801.06146), eq. 3; their `cut_frac` is `warmup_fraction`.
    """
    return (1 + linear(progress, warmup_fraction) * (SLANTED_RATIO - 1)) / SLANTED_RATIO


LR_SCHEDULES: Mapping[str, Callable[[float, float], float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "slanted_triangular": slanted_triangular,
}
"""Schedules by the name of `optimizer.lr_schedule`: `(progress, warmup_fraction) -> factor`."""
