"""How the losses of a step's tasks meet in one number."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainables.config_parts import BalancingConfig
from trainables.tasks import Task

BALANCING_FILE = "balancing.safetensors"
"""In a checkpoint: `LossWeights.state_dict()`, where it is not empty."""
LOSS_WEIGHTS = "loss_weights"
"""What their parameters' names begin with where they train beside a model's."""
LOSS_WEIGHTS_LR = 1e-2
"""Peak rate of s, whatever the model's: Adam and Lion move s by about the rate a step.

At the model's 1e-5 that is a hundredth in 1000 steps.  At 1e-2 s goes 1 in 100 steps, and a step shakes the weight by 1 %.
"""


class LossWeights(nn.Module):
    """`sum_t weights[t] * losses[t]`; with uncertainty, `sum_t weights[t] * (scale_t exp(-s_t) losses[t] + s_t / 2)`.

    `s = log sigma^2` is learnt for each task and starts at 0; `scale` is 1/2 for scores and 1 for classes and yes or no.  Only
    tasks of the step stand in the sum: another's s gets no gradient.

    Args:
        config: of the trial.
        tasks: of the trial, by name.

    Source: Kendall et al. 2018 (https://arxiv.org/abs/1705.07115), eq. 7 to 10, with s for log sigma^2 as they advise.
    Departures:
    - The fixed weights stand before the whole term, s included.  On the loss alone they would be learnt away: s would grow by
      the logarithm of the weight.
    - s has a learning rate of its own (`LOSS_WEIGHTS_LR`; under Lion betas too), no weight decay, and no part in clipping;
      theirs trains as the network does.
    - The loss is all that a task adds up: SMART, Bregman, distillation, contrast and ranking too, which `exp(-s)` then weighs.
      Theirs is the likelihood alone, and s the logarithm of its variance.
    """

    def __init__(self, config: BalancingConfig, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.weights = dict(config.loss_weights)
        self.scales = {name: 0.5 if task.target == "score" else 1.0 for name, task in tasks.items()}
        learnt = tasks if config.weighting == "uncertainty" else ()
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in learnt})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The scalar that a step minimises, of the scalar loss of each of its tasks."""
        return torch.stack([self.weights[task] * self._term(task, loss) for task, loss in losses.items()]).sum()

    @torch.no_grad()
    def learnt(self) -> dict[str, Tensor]:
        """`weights[t] * scale_t * exp(-s_t)`, the factor of each task's loss, scalars; empty where none is learnt."""
        return {task: self.weights[task] * self.scales[task] * torch.exp(-s) for task, s in self.log_variances.items()}

    def _term(self, task: str, loss: Tensor) -> Tensor:
        if task not in self.log_variances:
            return loss
        log_variance: Tensor = self.log_variances[task]
        return self.scales[task] * torch.exp(-log_variance) * loss + log_variance / 2
