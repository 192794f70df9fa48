"""Tokens to sentence: one vector for each sequence."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from trainables.model.encoder import Hidden


def cls(hidden: Hidden) -> Tensor:
    """The state of each sequence's first token, [CLS]: `[num_sequences, hidden]`."""
    return hidden.states[hidden.starts]


def mean(hidden: Hidden) -> Tensor:
    """The mean state of each sequence's tokens, [CLS] and [SEP] included: `[num_sequences, hidden]`.

    Source: Reimers & Gurevych 2019 (https://arxiv.org/abs/1908.10084), section 3.
    """
    sums = torch.zeros(len(hidden.lengths), hidden.states.shape[1], dtype=hidden.states.dtype, device=hidden.states.device)
    return sums.index_add(0, hidden.sequence_of_token, hidden.states) / hidden.lengths[:, None]


POOLINGS: Mapping[str, Callable[[Hidden], Tensor]] = {"cls": cls, "mean": mean}
"""Poolings by the name of `encoder.pooling`."""
