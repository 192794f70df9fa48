"""Losses: predictions and labels to one unreduced value an example; and how far two predictions lie apart."""

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

from trainables.tasks import Target


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats, `[n]`, of logits `[n, num_classes]` and class numbers `[n]` (floats that hold integers)."""
    return F.cross_entropy(logits, labels.long(), reduction="none")


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


def squared_difference(scores: Tensor, other: Tensor) -> Tensor:
    """`(score - other)^2`, `[n]`: SMART's divergence for regression."""
    return (scores - other).square()


LOSSES: Mapping[Target, Callable[[Tensor, Tensor], Tensor]] = {
    "classes": cross_entropy,
    "binary": binary_cross_entropy,
    "score": squared_error,
}
"""The plain loss of each kind of target."""

DIVERGENCES: Mapping[Target, Callable[[Tensor, Tensor], Tensor]] = {
    "classes": symmetric_kl,
    "binary": symmetric_binary_kl,
    "score": squared_difference,
}
"""How far two predictions of each kind of target lie apart: symmetric, >= 0, and 0 where they are equal."""
