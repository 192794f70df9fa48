"""SMART's smoothness-inducing adversarial regularizer.

Source: Jiang et al. 2020 (https://arxiv.org/abs/1911.03437), section 3.1, and algorithm 1 for the ascent.

How much a prediction changes when every token's embedding is moved by a little in the worst direction.  One ascent step.

Departures from the paper and from its authors' code (https://github.com/namisan/mt-dnn):
- The perturbed passes draw the same dropout masks as the clean one, so that the term measures the perturbation alone; or there
  are no masks on either side (`dropout: off`; best_fit, section 4.5).
- Gradients flow into both sides of the divergence.
- As in the authors' code the perturbation is not projected into a ball; it is `noise + step_size * direction`, where theirs
  normalises the sum of noise and step once more.
- The direction comes from the gradient of the divergence summed over a task's examples (as theirs), so that it does not
  depend on the batch size, and divided by `noise_std` before `epsilon` is added to its norm.  With noise of 1e-5 the gradient
  itself is about 4e-9 (22M parameters, measured), so that an epsilon of 1e-6 would leave a step of 0.4% of `step_size`.
- With `batch_share` below 1 it is the mean over examples of the batch drawn at random without regard to what they are, an
  unbiased estimate of the mean over all (see `clean_pass` and docs/decisions/0017); 1, the default, is the paper's.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainables.config_parts import SmartConfig
from trainables.data.batching import Batch
from trainables.model.dropout import DrawnOnce
from trainables.model.multitask import MultitaskModel
from trainables.objectives.losses import divergences


def smart_terms(
    model: MultitaskModel,
    batches: Sequence[Batch],
    clean: Mapping[str, Tensor],
    embeddings: Tensor,
    *,
    config: SmartConfig,
    masks: DrawnOnce | None,
    noise: torch.Generator,
) -> dict[str, Tensor]:
    """The regularizer of each task: mean divergence between perturbed and clean predictions, a scalar >= 0.

    Exactly 0 where `step_size` and `noise_std` are 0.  A step with it costs 2.6 plain ones, with half of the batch 1.9.
    With `dropout: off` there is one more clean pass, without masks: 3.5 and 2.4 (packaged encoder, 32 examples, one CPU thread).

    Args:
        model: of the trial.
        batches: of the step, or the examples of it that are drawn.
        clean: the model's predictions for `batches` from `embeddings`, with `masks`.
        embeddings: `[total_tokens, hidden]`, output of the embedding layer.
        config: step size, noise, epsilon and divergence.
        masks: of the clean pass (None: no dropout).
        noise: generator of the starting noise.
    """
    if config.dropout == "off" and masks is not None:
        masks, clean = None, model(batches, generator=None, embeddings=embeddings)
    tasks = [batch.task for batch in batches]
    fixed = {task: predictions.detach() for task, predictions in clean.items()}
    start = torch.empty_like(embeddings).normal_(generator=noise).mul_(config.noise_std).requires_grad_()
    _begin_again(masks)
    moved = model(batches, generator=masks, embeddings=embeddings.detach() + start)
    distance = divergences(config.divergence, tasks, moved, fixed, torch.sum)
    (gradient,) = torch.autograd.grad(torch.stack(list(distance.values())).sum(), start)
    unit_gradient = gradient / config.noise_std if config.noise_std else gradient  # without noise it is 0 already
    perturbation = start.detach() + config.step_size * ascent_direction(unit_gradient, config.epsilon)
    _begin_again(masks)
    return divergences(config.divergence, tasks, model(batches, generator=masks, embeddings=embeddings + perturbation), clean)


def ascent_direction(gradient: Tensor, epsilon: float) -> Tensor:
    """`g / (max |g| + epsilon)` for each token: `[total_tokens, hidden]`, of inf-norm 1 where g is large beside epsilon."""
    return gradient / (gradient.abs().amax(dim=1, keepdim=True) + epsilon)


def _begin_again(masks: DrawnOnce | None) -> None:
    if masks is not None:
        masks.begin_again()
