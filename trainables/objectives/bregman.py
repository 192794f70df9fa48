"""SMART's Bregman proximal point step: predictions stay near those of a teacher, the moving average of the model's weights.

`mu * mean divergence(model(x), teacher(x))` is added to each task's loss, with the divergence of `objective.smart.divergence`.

Source: Jiang et al. 2020 (https://arxiv.org/abs/1911.03437), section 3.2 with momentum, and algorithm 1; the average is
that of Tarvainen & Valpola 2017 (https://arxiv.org/abs/1703.01780).  studentbert, section 4.2, calls it BPPO.

Departures:
- One optimizer step is taken on each proximal problem, as in the authors' algorithm 1 with S = 1.
- `divergence: kl` is `KL(teacher || model)`; the paper's is symmetric.
- "The first tenth" is counted in training examples, not in updates.
- Nothing is said there of dropout: the model's predictions are those of its training pass, the teacher runs without.
- The model is scored and kept, as in the paper, not the teacher.

Costs: a forward pass without gradient and the averaging of all weights, together about half a plain step (packaged encoder,
8 sentences, one CPU thread: loss and gradient 1.4 plain ones, the averaging of 22.7M weights 19 ms); and the memory and the
checkpoint of one more model.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainables.config_parts import BregmanConfig
from trainables.data.batching import Batch
from trainables.model.multitask import MultitaskModel

TEACHER_FILE = "teacher.safetensors"
"""Where a checkpoint keeps its weights."""

EARLY_SHARE = 0.1
"""Share of the budget in which the teacher follows with `beta`; with `late_beta` afterwards."""


class Teacher:
    """The exponential moving average of a model's weights; it begins as a copy of the model.

    Args:
        model: of the trial, where it trains.
        config: the trial's `objective.bregman`.
    """

    def __init__(self, model: MultitaskModel, config: BregmanConfig) -> None:
        self.config = config
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def predict(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Its predictions, as `MultitaskModel` gives them, without dropout and without gradient."""
        out: dict[str, Tensor] = self.model(batches, generator=None)
        return out

    @torch.no_grad()
    def follow(self, model: MultitaskModel, progress: float) -> None:
        """One step of the average, `teacher <- beta * teacher + (1 - beta) * model`, of all weights.

        AdamW moves every row of the word embeddings, those without a gradient too, so none can be left out.

        Args:
            model: after the optimizer's step.
            progress: share of the budget that is spent with that step.
        """
        beta = self.config.beta if progress <= EARLY_SHARE else self.config.late_beta
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - beta)

    def save(self, file: Path) -> None:
        """Writes its weights."""
        save_file({name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}, file)

    def load(self, file: Path) -> None:
        """Fills its weights from what `save` wrote for a model of the same config."""
        self.model.load_state_dict(load_file(file))


def teacher_of(model: MultitaskModel, config: BregmanConfig) -> Teacher | None:
    """The teacher that training begins with; None where mu is 0."""
    return Teacher(model, config) if config.mu else None
