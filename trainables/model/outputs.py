"""A head's last layer: logits as they are, scores in the labels' units."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from trainables.config_parts import HeadConfig
from trainables.model.blank import Linear
from trainables.tasks import Task

INIT_STD = 0.02


def identity(raw: Tensor, task: Task) -> Tensor:  # noqa: ARG001 - all of `OUTPUTS` are called alike
    """`raw` itself: logits, or scores that are not held to the labels' range."""
    return raw


def relu(raw: Tensor, task: Task) -> Tensor:
    """Scores never below the lowest label (`studentbert`, section 4.1, whose lowest is 0).

    `low + max(raw - low, 0)`: what is cut gets no gradient.
    """
    return task.label_low + (raw - task.label_low).relu()


def sigmoid(raw: Tensor, task: Task) -> Tensor:
    """Scores within the labels' range (three_headed, section 3.3, whose range is [0, 5]).

    `low + (high - low) / (1 + exp(-raw))`.
    """
    return stretch(raw.sigmoid(), task)


OUTPUTS: Mapping[str, Callable[[Tensor, Task], Tensor]] = {"identity": identity, "relu": relu, "sigmoid": sigmoid}
"""What becomes of a head's raw output, by the name of `heads.*.output`."""


def stretch(share: Tensor, task: Task) -> Tensor:
    """`low + (high - low) share`: 0 to 1 onto the labels' range."""
    return task.label_low + (task.label_high - task.label_low) * share


def cosine_output(cosine: Tensor, task: Task, output: str) -> Tensor:
    """Scores in the labels' units from cosines in [-1, 1].

    `identity`: `low + (high - low) (cosine + 1) / 2`, so that squared errors are those of scores; the papers compare cosines with
    labels by Pearson's r alone, which is the same for both.  `relu`: the same, for it is never below the lowest label.
    `sigmoid`: `low + (high - low) sigmoid(cosine)`, as three_headed, section 3.3, has it; at labels of 0 to 5 that is 1.3 to 3.7.
    """
    raw = cosine if output == "sigmoid" else stretch((cosine + 1) / 2, task)
    return OUTPUTS[output](raw, task)


class OutputLayer(Linear):
    """The last linear layer and what `heads.*.output` makes of it.

    A score's bias starts where it predicts the middle of the labels' range, so that small budgets do not go into finding the
    mean: at the middle label, for `sigmoid` at 0.

    Args:
        input_size: width of the features.
        task: whose labels are predicted.
        config: of the head; `output` is read.
        generator: on the CPU, of the initial weights.
    """

    def __init__(self, input_size: int, task: Task, config: HeadConfig, generator: torch.Generator) -> None:
        super().__init__(input_size, task.num_outputs)
        initialise(self, generator)
        self.task, self.output = task, config.output
        if task.target == "score" and config.output != "sigmoid":
            nn.init.constant_(self.bias, (task.label_low + task.label_high) / 2)

    def forward(self, features: Tensor) -> Tensor:
        """Predictions `[num_examples, num_outputs]` from features `[num_examples, input_size]`."""
        return OUTPUTS[self.output](super().forward(features), self.task)


def initialise(layer: nn.Linear, generator: torch.Generator) -> nn.Linear:
    """The layer, filled as BERT's are: weights normal(0, 0.02), biases 0."""
    nn.init.normal_(layer.weight, std=INIT_STD, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
