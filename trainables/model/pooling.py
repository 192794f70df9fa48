"""Tokens to sentence: one vector for each sequence; the four that `best_fit`, appendix A.1, compares.

All but `cls` take every token of a sequence, [CLS] and [SEP] included.  Sequences lie end to end: sums and maxima go over the
tokens of a sequence without padding, and without a Python loop over sequences.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from trainables.model.blank import Linear
from trainables.model.hidden import Hidden


def cls(hidden: Hidden) -> Tensor:
    """The state of each sequence's [CLS]: `[num_sequences, hidden]`; which one, where there are several, `hidden` says."""
    return hidden.states[hidden.cls_rows]


def mean(hidden: Hidden) -> Tensor:
    """The mean state of each sequence's tokens, [CLS] and [SEP] included: `[num_sequences, hidden]`.

    Source: Reimers & Gurevych 2019 (https://arxiv.org/abs/1908.10084), section 3.
    """
    return _sums(hidden, hidden.states) / hidden.lengths[:, None]


def maximum(hidden: Hidden) -> Tensor:
    """The largest value of each feature among a sequence's tokens: `[num_sequences, hidden]`; tokens that tie share the gradient.

    Source: Reimers & Gurevych 2019 (https://arxiv.org/abs/1908.10084), section 3 (max-over-time); best_fit, appendix A.1.
    """
    lowest = hidden.states.new_full((len(hidden.lengths), hidden.states.shape[1]), -torch.inf)
    of_token = hidden.sequence_of_token[:, None].expand_as(hidden.states)
    return lowest.scatter_reduce(0, of_token, hidden.states, "amax")


class AttentionPooling(nn.Module):
    """`sum_t a_t h_t` with `a = softmax_t(w . h_t)` within each sequence: a learnt weight for each token.

    Source: best_fit, appendix A.1 ("a single attention layer to compute attention scores for each token embedding").

    Departures: w starts at 0, so that it begins as `mean`, where the paper says nothing; and the layer has no bias, which a
    softmax would take away again.

    Args:
        hidden_size: width of the states.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = Linear(hidden_size, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, hidden: Hidden) -> Tensor:
        """`[num_sequences, hidden]`."""
        scores: Tensor = self.score(hidden.states)
        largest = maximum(hidden.with_states(scores.detach()))  # keeps exp in range, and cancels
        exps = (scores - largest[hidden.sequence_of_token]).exp()
        return _sums(hidden, exps * hidden.states) / _sums(hidden, exps)


def _sums(hidden: Hidden, values: Tensor) -> Tensor:
    """Sums of values `[total_tokens, width]` over the tokens of each sequence: `[num_sequences, width]`."""
    return values.new_zeros(len(hidden.lengths), values.shape[1]).index_add(0, hidden.sequence_of_token, values)


PoolingFunction = Callable[[Hidden], Tensor]

POOLINGS: Mapping[str, Callable[[int], PoolingFunction]] = {
    "cls": lambda _: cls,
    "mean": lambda _: mean,
    "max": lambda _: maximum,
    "attention": AttentionPooling,
}
"""Poolings by the name of `encoder.pooling`: hidden size -> states to sentences.  One with weights is a module."""
