"""Losses: predictions and labels to one unreduced value an example; and how far two predictions lie apart."""

from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.tasks import Target, Task

Compare = Callable[[Tensor, Tensor], Tensor]
"""Predictions and labels, or predictions and a reference, to one value an example: `[n]`."""

FAR_OFF_WEIGHT = 0.1


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats, `[n]`, of logits `[n, num_classes]` and class numbers `[n]` (floats that hold integers)."""
    return F.cross_entropy(logits, labels.long(), reduction="none")


def ordered_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """`cross_entropy + D / 10` with `D = (sum_j p_j j - y)^2`, `[n]`, for classes whose numbers are an order.

    A miss costs more the further off the mean predicted class lies.  Logits and labels as in `cross_entropy`.

    Source: best_fit, section 4.3.2.
    """
    places = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    mean_class = logits.softmax(-1) @ places
    return cross_entropy(logits, labels) + FAR_OFF_WEIGHT * (mean_class - labels).square()


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats, `[n]`, of logits `[n]` and labels 0 or 1 `[n]`."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def squared_error(scores: Tensor, labels: Tensor) -> Tensor:
    """`(score - label)^2`, `[n]`, in squared label units (STS-B: 0 to 5)."""
    return (scores - labels).square()


def symmetric_kl(logits: Tensor, other: Tensor) -> Tensor:
    """`KL(p || q) + KL(q || p)` in nats, `[n]`, of two classifications given as logits `[n, num_classes]`.

    Computed as `sum (p - q) (log p - log q)`, which is finite for all finite logits.  Gradients flow into both sides; the
    SMART authors' code stops them at the target of each term (https://github.com/namisan/mt-dnn, `stable_kl`).
    """
    log_p, log_q = logits.log_softmax(-1), other.log_softmax(-1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1)


def symmetric_binary_kl(logits: Tensor, other: Tensor) -> Tensor:
    """`symmetric_kl` of two Bernoulli distributions given as logits `[n]`: `(p - q) (logit p - logit q)`."""
    return (logits.sigmoid() - other.sigmoid()) * (logits - other)


def kl(logits: Tensor, reference: Tensor) -> Tensor:
    """`KL(reference || prediction)` in nats, `[n]`, of two classifications given as logits `[n, num_classes]`.

    Finite for all finite logits; 0, where it is so, up to rounding.  Gradients flow into both sides, as in `symmetric_kl`.
    """
    log_p, log_q = reference.log_softmax(-1), logits.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def binary_kl(logits: Tensor, reference: Tensor) -> Tensor:
    """`kl` of two Bernoulli distributions given as logits `[n]`."""
    yes = reference.sigmoid() * (F.logsigmoid(reference) - F.logsigmoid(logits))
    return yes + (-reference).sigmoid() * (F.logsigmoid(-reference) - F.logsigmoid(-logits))


def squared_difference(scores: Tensor, other: Tensor) -> Tensor:
    """`(score - other)^2`, `[n]`: SMART's divergence for regression."""
    return (scores - other).square()


LOSSES: Mapping[str, Mapping[Target, Compare]] = {
    "default": {"classes": cross_entropy, "binary": binary_cross_entropy, "score": squared_error},
    "ordered_cross_entropy": {"classes": ordered_cross_entropy},
}
"""Losses by the name in `objective.losses`, for each kind of target that they are for."""

DIVERGENCES: Mapping[str, Mapping[Target, Compare]] = {
    "symmetric_kl": {"classes": symmetric_kl, "binary": symmetric_binary_kl, "score": squared_difference},
    "kl": {"classes": kl, "binary": binary_kl, "score": squared_difference},
}
"""How far predictions lie from a reference, by the name in `objective.smart.divergence`: >= 0, and 0 where they are equal."""


def divergences(
    name: str,
    tasks: Iterable[Task],
    predictions: Mapping[str, Tensor],
    references: Mapping[str, Tensor],
    reduce: Callable[[Tensor], Tensor] = torch.mean,
) -> dict[str, Tensor]:
    """For each task the divergence of its predictions from its reference, reduced over its examples to a scalar."""
    by_target = DIVERGENCES[name]
    return {task.name: reduce(by_target[task.target](predictions[task.name], references[task.name])) for task in tasks}
