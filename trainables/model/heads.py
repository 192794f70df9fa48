"""Sentence(s) to prediction: one head a task, one class a kind.

Predictions are `[num_examples, num_outputs]`: logits, or scores in the labels' units.  The pooling under a head belongs to it, so
that all that is learnt for a task alone lies together.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config_parts import HeadConfig, Pooling
from trainables.model.blank import Linear
from trainables.model.dropout import MaskSource, dropout
from trainables.model.hidden import Hidden
from trainables.model.outputs import OutputLayer, cosine_output, initialise
from trainables.model.pooling import POOLINGS, PoolingFunction, maximum
from trainables.tasks import Task

DEFAULT_HIDDEN_SIZE = 32
SHORTEST = 1e-3
"""A shorter vector counts as this long in a cosine: where ReLU and dropout leave nothing of one, its gradient stays small."""

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}
"""Activations by the name of `heads.*.activation`."""


class Head(nn.Module):
    """A head of one task; its kinds differ in what they read.

    Args:
        input_size: width of what it reads.
        task: whose labels are predicted.
        config: of the head.
        generator: on the CPU, of the initial weights.

    Attributes:
        pooling: tokens to sentence, set by `build_head`.
    """

    pooling: PoolingFunction

    def __init__(self, input_size: int, task: Task, config: HeadConfig, generator: torch.Generator) -> None:  # noqa: ARG002
        super().__init__()


class LinearHead(Head):
    """Dropout and one linear layer."""

    def __init__(self, input_size: int, task: Task, config: HeadConfig, generator: torch.Generator) -> None:
        super().__init__(input_size, task, config, generator)
        self.dropout = config.dropout
        self.output = OutputLayer(input_size, task, config, generator)

    def forward(self, features: Tensor, generator: MaskSource | None) -> Tensor:
        """Predictions `[num_examples, num_outputs]` from features `[num_examples, input_size]`."""
        out: Tensor = self.output(dropout(features, self.dropout, generator))
        return out


class _HiddenLayerHead(Head):
    """One hidden layer, `reach` times as wide at its entry as one input."""

    reach = 1

    def __init__(self, input_size: int, task: Task, config: HeadConfig, generator: torch.Generator) -> None:
        super().__init__(input_size, task, config, generator)
        self.dropout = config.dropout
        width = config.hidden_size or DEFAULT_HIDDEN_SIZE
        self.activation = ACTIVATIONS[config.activation or ("gelu" if config.kind == "abs_difference" else "relu")]
        self.hidden = initialise(Linear(input_size * self.reach, width), generator)
        self.output = OutputLayer(width, task, config, generator)

    def _mlp(self, features: Tensor, generator: MaskSource | None) -> Tensor:
        inner = self.activation(self.hidden(dropout(features, self.dropout, generator)))
        out: Tensor = self.output(dropout(inner, self.dropout, generator))
        return out


class MlpHead(_HiddenLayerHead):
    """Linear, ReLU, linear, with dropout before each linear layer (`studentbert`, section 4.1)."""

    def forward(self, features: Tensor, generator: MaskSource | None) -> Tensor:
        """Predictions `[num_examples, num_outputs]` from features `[num_examples, input_size]`."""
        return self._mlp(features, generator)


class AbsoluteDifferenceHead(_HiddenLayerHead):
    """An mlp over `|u - v|` with GELU (three_headed, section 3.3).

    Departure: dropout before each linear layer, as in other heads here; the paper names none in this one.
    """

    def forward(self, first: Tensor, second: Tensor, generator: MaskSource | None) -> Tensor:
        """Predictions `[num_examples, num_outputs]` from the sentences of pairs, each `[num_examples, input_size]`."""
        return self._mlp((first - second).abs(), generator)


class LinearDifferenceHead(Head):
    """Dropout and one linear layer over `|u - v|` (three_headed, section 3.1).

    Departure: dropout before the layer; the paper has it behind, on the logit itself.
    """

    def __init__(self, input_size: int, task: Task, config: HeadConfig, generator: torch.Generator) -> None:
        super().__init__(input_size, task, config, generator)
        self.dropout = config.dropout
        self.output = OutputLayer(input_size, task, config, generator)

    def forward(self, first: Tensor, second: Tensor, generator: MaskSource | None) -> Tensor:
        """Predictions `[num_examples, num_outputs]` from the sentences of pairs, each `[num_examples, input_size]`."""
        out: Tensor = self.output(dropout((first - second).abs(), self.dropout, generator))
        return out


class ConvolutionHead(_HiddenLayerHead):
    """A convolution over three tokens at a time, ReLU, the largest value of each channel, dropout, linear.

    Zeros stand before a sequence's first token and after its last, so that there are as many outputs as tokens, and none reads
    another sequence.

    Source: three_headed, section 3.3 ("a 1D convolutional layer after the BERT embeddings"), which gives neither the width of the
    kernel nor how its outputs become one vector: 3 and the maximum over time are those of Kim 2014
    (https://arxiv.org/abs/1408.5882), whose kernels are 3, 4 and 5 wide.
    """

    reach = 3

    def forward(self, hidden: Hidden, generator: MaskSource | None) -> Tensor:
        """Predictions `[num_sequences, num_outputs]` from all tokens' states."""
        channels = self.activation(self.hidden(_with_neighbours(hidden)))
        pooled = maximum(hidden.with_states(channels))
        out: Tensor = self.output(dropout(pooled, self.dropout, generator))
        return out


class CosineHead(Head):
    """The cosine of u and v in the labels' units (three_headed, section 3.3; see `cosine_output`): no weights, no dropout."""

    def __init__(self, input_size: int, task: Task, config: HeadConfig, generator: torch.Generator) -> None:
        super().__init__(input_size, task, config, generator)
        self.task, self.output = task, config.output

    def forward(self, first: Tensor, second: Tensor, generator: MaskSource | None) -> Tensor:  # noqa: ARG002 - as all heads
        """Scores `[num_examples, 1]` from the sentences of pairs, each `[num_examples, input_size]`."""
        cosine = F.cosine_similarity(first, second, dim=1, eps=SHORTEST)
        return cosine_output(cosine[:, None], self.task, self.output)


class CompressExpandHead(CosineHead):
    """`CosineHead` after a bottleneck that both sentences pass: linear, ReLU, dropout, linear back to the input's width.

    Source: three_headed, section 3.3, whose scores are 5 times a sigmoid: `output: sigmoid`.
    """

    def __init__(self, input_size: int, task: Task, config: HeadConfig, generator: torch.Generator) -> None:
        super().__init__(input_size, task, config, generator)
        self.dropout = config.dropout
        width = config.hidden_size or DEFAULT_HIDDEN_SIZE
        self.activation = ACTIVATIONS[config.activation or "relu"]
        self.compress = initialise(Linear(input_size, width), generator)
        self.expand = initialise(Linear(width, input_size), generator)

    def forward(self, first: Tensor, second: Tensor, generator: MaskSource | None) -> Tensor:
        """Scores `[num_examples, 1]` from the sentences of pairs, each `[num_examples, input_size]`."""
        inner = self.activation(self.compress(torch.cat([first, second])))
        expanded: Tensor = self.expand(dropout(inner, self.dropout, generator))
        first, second = expanded.tensor_split(2)
        return super().forward(first, second, generator)


HEADS: Mapping[str, type[Head]] = {
    "linear": LinearHead,
    "mlp": MlpHead,
    "conv1d": ConvolutionHead,
    "abs_difference": AbsoluteDifferenceHead,
    "abs_difference_linear": LinearDifferenceHead,
    "cosine": CosineHead,
    "compress_expand": CompressExpandHead,
}
"""Heads by the name of `heads.*.kind`."""


def build_head(
    hidden_size: int, task: Task, config: HeadConfig, pooling: Pooling, generator: torch.Generator, *, reads_apart: bool
) -> Head:
    """A task's head with the pooling under it.

    Args:
        hidden_size: of the encoder.
        task: whose head it is.
        config: of the head.
        pooling: where the head's config names none.
        generator: on the CPU, of the initial weights.
        reads_apart: its rows are pairs whose sentences are read apart.
    """
    parts = {"u_v_difference": 3, "u_v": 2}[config.concatenation]
    width = hidden_size * (parts if reads_apart and not config.of_two_sentences else 1)
    head = HEADS[config.kind](width, task, config, generator)
    if not isinstance(head, ConvolutionHead):
        head.pooling = POOLINGS[config.pooling or pooling](hidden_size)
    return head


def pair_features(first: Tensor, second: Tensor, concatenation: str) -> Tensor:
    """Features of a pair that is read apart: `u_v_difference`: (u, v, |u - v|), `[num_examples, 3 * hidden]`; `u_v`: without it.

    Source: Reimers & Gurevych 2019 (https://arxiv.org/abs/1908.10084), section 3, its best concatenation; best_fit, figure 1.
    """
    both = [first, second]
    return torch.cat(both if concatenation == "u_v" else [*both, (first - second).abs()], dim=1)


def _with_neighbours(hidden: Hidden) -> Tensor:
    """Each token's state between those before and after it, zeros at the ends of its sequence: `[total_tokens, 3 * hidden]`."""
    states, of_token = hidden.states, hidden.sequence_of_token
    nothing = states.new_zeros(1, states.shape[1])
    goes_on = (of_token[1:] == of_token[:-1])[:, None]
    before = torch.cat([nothing, states[:-1] * goes_on])
    after = torch.cat([states[1:] * goes_on, nothing])
    return torch.cat([before, states, after], dim=1)
