"""Multiple negatives ranking: a sentence must find its partner among all second sentences of its batch.

Source: Henderson et al. 2017 (https://arxiv.org/abs/1705.00652), section 4.4: the negative mean log-probability of a sentence's
own partner in a softmax over the batch.  The score of two sentences is their cosine times `scale`, as in Sentence-BERT's library
(https://sbert.net, `MultipleNegativesRankingLoss`), where the paper has a dot product or a network.

Departures:
- The paper's batch holds positive pairs alone.  Here the pairs that do not mean the same ask for no partner, but their second
  sentences stand among the candidates: hard negatives, as much like their first sentences as the data has them.
- Of scores, pairs with labels in the upper fifth of the range are the positive ones.
- A sentence that stands in two positive pairs of a batch has two partners, and each is a negative of the other's pair; batches
  are small beside the data, and nothing is done about it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.tasks import Task

POSITIVE_SHARE = 0.8
"""Share of the labels' range above which two sentences with a score mean the same."""


def ranking_loss(sentences: Tensor, labels: Tensor, *, task: Task, scale: float) -> Tensor:
    """Mean of `-log softmax_j(scale * cos(u_i, v_j))` at j = i, in nats, over the positive pairs i of the batch; a scalar >= 0.

    Exactly 0, with a gradient of 0, where no pair is positive.

    Args:
        sentences: `[2 * num_examples, hidden]`, all first sentences u, then all second ones v.
        labels: `[num_examples]` in the units of `task`.
        task: of pairs with yes (they mean the same) or no, or with a score that is highest where they mean the same.
        scale: of the cosines.
    """
    first, second = F.normalize(sentences, dim=1).chunk(2)
    cosines = first @ second.T
    partners = torch.arange(len(labels), device=cosines.device)
    losses = F.cross_entropy(scale * cosines, partners, reduction="none")
    # Weighed, not picked: how many there are need not be known on the CPU.
    positive = are_positive(labels, task).to(losses.dtype)
    return (losses * positive).sum() / positive.sum().clamp(min=1)


def are_positive(labels: Tensor, task: Task) -> Tensor:
    """Which pairs, `[n]`, are labelled yes or have a score of at least `low + 0.8 (high - low)`."""
    assert task.target != "classes", f"{task.name} must be of yes or no or a score, but is of {task.target}"
    return labels >= task.label_low + POSITIVE_SHARE * (task.label_high - task.label_low)
