"""A loss on the sentences of a pair, beside the one on its prediction: those that mean the same lie together, others apart.

Source: best_fit, section 4.3.1, after Hadsell et al. 2006 (https://doi.org/10.1109/CVPR.2006.100).  The distance of two sentences
is `d = 1 - cos(u, v)`, in [0, 2].

Departure: for scores the paper prints `|y / 20 - d^2|`, "d to be 0 when y = 0 and 0.5 when y = 5".  In STS-B 5 means the same
and 0 unrelated, so that this would pull unrelated sentences together; and the paper goes on with "a target cosine similarity
of 0.5 for unrelated sentences".  The label is therefore turned round here: `|(5 - y) / 20 - d^2|`, for the labels of any task
`|m^2 (high - y) / (high - low) - d^2|`, of which that is the case of m = 0.5.
"""

import torch.nn.functional as F
from torch import Tensor

from trainables.tasks import Task


def contrastive_loss(sentences: Tensor, labels: Tensor, *, task: Task, margin: float) -> Tensor:
    """The loss of each pair, `[num_examples]`, >= 0.

    Args:
        sentences: `[2 * num_examples, hidden]`, all first sentences, then all second ones.
        labels: `[num_examples]` in the units of `task`.
        task: of pairs with yes (they mean the same) or no, or with a score that is highest where they mean the same.
        margin: m, the distance from which on different sentences are left alone, or that the lowest score asks for.
    """
    first, second = sentences.chunk(2)
    distance = 1 - F.cosine_similarity(first, second)
    if task.target == "score":
        return distance_to_score(distance, labels, low=task.label_low, high=task.label_high, margin=margin)
    assert task.target == "binary", f"{task.name} must be of yes or no or a score, but is of {task.target}"
    return together_or_apart(distance, labels, margin=margin)


def together_or_apart(distance: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """`0.5 [y d^2 + (1 - y) max(m - d, 0)^2]` for distances and labels 0 or 1, `[n]` each."""
    return 0.5 * (labels * distance.square() + (1 - labels) * (margin - distance).relu().square())


def distance_to_score(distance: Tensor, labels: Tensor, *, low: float, high: float, margin: float) -> Tensor:
    """`|m^2 (high - y) / (high - low) - d^2|` for distances and labels in [low, high], `[n]` each."""
    return (margin**2 * (high - labels) / (high - low) - distance.square()).abs()
