"""Sentence(s) to prediction: one head a task, one class a kind."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainables.config import HeadConfig
from trainables.model.blank import Linear
from trainables.model.dropout import dropout
from trainables.tasks import Task

INIT_STD = 0.02
DEFAULT_HIDDEN_SIZE = 32


class LinearHead(nn.Module):
    """Dropout and one linear layer."""

    def __init__(self, input_size: int, task: Task, config: HeadConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.output = _output_layer(input_size, task, generator)

    def forward(self, features: Tensor, generator: torch.Generator | None) -> Tensor:
        """Predictions `[num_examples, num_outputs]` from features `[num_examples, input_size]`."""
        out: Tensor = self.output(dropout(features, self.dropout, generator))
        return out


class MlpHead(nn.Module):
    """Linear, ReLU, linear, with dropout before each linear layer (`studentbert`, section 4.1)."""

    def __init__(self, input_size: int, task: Task, config: HeadConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout = config.dropout
        hidden_size = config.hidden_size or DEFAULT_HIDDEN_SIZE
        self.hidden = _linear(input_size, hidden_size, generator)
        self.output = _output_layer(hidden_size, task, generator)

    def forward(self, features: Tensor, generator: torch.Generator | None) -> Tensor:
        """Predictions `[num_examples, num_outputs]` from features `[num_examples, input_size]`."""
        inner = self.hidden(dropout(features, self.dropout, generator)).relu()
        out: Tensor = self.output(dropout(inner, self.dropout, generator))
        return out


HEADS: Mapping[str, type[LinearHead] | type[MlpHead]] = {"linear": LinearHead, "mlp": MlpHead}
"""Heads by the name of `heads.*.kind`."""


def pair_features(first: Tensor, second: Tensor) -> Tensor:
    """`(u, v, |u - v|)`, `[num_examples, 3 * hidden]`: Sentence-BERT's features of a pair that is read apart.

    Source: Reimers & Gurevych 2019 (https://arxiv.org/abs/1908.10084), section 3, its best concatenation.
    """
    return torch.cat([first, second, (first - second).abs()], dim=1)


def _output_layer(input_size: int, task: Task, generator: torch.Generator) -> nn.Linear:
    """The last layer; a score's bias starts at the middle of its range, so that small budgets do not go into finding the mean."""
    layer = _linear(input_size, task.num_outputs, generator)
    if task.target == "score":
        nn.init.constant_(layer.bias, (task.label_low + task.label_high) / 2)
    return layer


def _linear(input_size: int, output_size: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer as BERT's are initialised: weights normal(0, 0.02), biases 0."""
    layer = Linear(input_size, output_size)
    nn.init.normal_(layer.weight, std=INIT_STD, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
