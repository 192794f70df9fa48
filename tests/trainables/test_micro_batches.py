"""Gradients of a batch in parts, added up, beside those of the whole batch; without dropout, which is drawn for each part."""

from typing import Any

import pytest
import torch

from trainables.config import TrialConfig
from trainables.data.batching import micro_batches
from trainables.trainer import Trainer

SUM = {"phases": [{"task_schedule": "sum_of_losses"}]}
BI = {"encoder.pair_encoding": "bi", "encoder.pooling": "mean"}
CASES: dict[str, dict[str, Any]] = {
    "one task a step": {},
    "sum of losses": SUM,
    "pairs read apart": {**SUM, **BI, "heads.sts.kind": "cosine"},
    "ordered classes": {**SUM, "objective.losses.sst": "ordered_cross_entropy"},
    "contrastive": {**SUM, **BI, "objective.contrastive.weights": {"qqp": 0.5, "sts": 0.5}},
    "smart": {**SUM, "objective.smart.enabled": True},
    "smart without dropout": {**SUM, "objective.smart.enabled": True, "objective.smart.dropout": "off"},
    "bregman": {**SUM, "objective.bregman.mu": 1.0},
    "uncertainty": {**SUM, "balancing.weighting": "uncertainty"},
    "pcgrad": {**SUM, "balancing.gradients": "pcgrad"},
    "pcgrad and smart": {**SUM, "balancing.gradients": "pcgrad", "objective.smart.enabled": True},
    "frozen layers": {"phases": [{"task_schedule": "sum_of_losses", "frozen_layers": 1}], "encoder.frozen_cache": "always"},
    "no clipping": {"optimizer.max_grad_norm": None},
}
TOLERANCE = {"pcgrad and smart": 1e-5, "no clipping": 1e-4}
"""Of entries up to 0.2, in single precision.  Projections take half of these gradients away, and its rounding stays; without
clipping entries are a hundred times as large."""
STILL = {"encoder.dropout": 0.0, "heads.*.dropout": 0.0, "data.batch_size": 7}


def gradients(config: TrialConfig) -> tuple[dict[str, torch.Tensor], Any]:
    """Of the first step, from weights that a slower teacher does not have; and what the step measured."""
    trainer, seen = Trainer(config), {}
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight.add_(0.02 * torch.sin(torch.arange(weight.numel(), dtype=torch.float32)).view_as(weight))

    def take(*_: object) -> None:
        for name, weight in trainer.trained.named_parameters():
            if weight.grad is not None:
                seen[name] = weight.grad.to_dense().clone()

    trainer.optimizer.register_step_pre_hook(take)
    return seen, (trainer._step(), trainer.position, trainer.applied)


@pytest.fixture
def _same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """SMART's noise is drawn for all tokens of a pass at once; here each token gets the same, however many there are."""

    def fill(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return tensor.copy_(torch.linspace(-1, 1, tensor.shape[-1]).expand_as(tensor))

    monkeypatch.setattr(torch.Tensor, "normal_", fill)


@pytest.mark.usefixtures("_same_noise")
@pytest.mark.parametrize("micro", [1, 3, 4])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_the_whole_batch(name: str, micro: int, small_config: TrialConfig) -> None:
    whole = small_config.override({**STILL, **CASES[name], "budget_examples": 84})
    expected, (step, position, _) = gradients(whole)
    found, (micro_step, micro_position, applied) = gradients(whole.override({"data.micro_batch_size": micro}))
    assert set(found) == set(expected) and len(found) > 10
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 1e-3
    for weight, gradient in expected.items():
        torch.testing.assert_close(found[weight], gradient, rtol=0, atol=TOLERANCE.get(name, 1e-6), msg=weight)
    assert micro_position == position
    assert micro_step.task_losses == pytest.approx(step.task_losses, rel=1e-5)
    assert (micro_step.loss, micro_step.grad_norm) == pytest.approx((step.loss, step.grad_norm), rel=1e-5)
    assert applied is not None and applied["examples_at_once"] == micro


def test_a_checkpoint_of_whole_batches_goes_on_in_parts(small_config: TrialConfig, tmp_path: Any) -> None:
    config = small_config.override({**STILL, "budget_examples": 84})
    whole, parts = Trainer(config), Trainer(config.override({"data.micro_batch_size": 2}))
    whole.advance()
    whole.save(tmp_path)
    parts.load(tmp_path)
    one, other = whole.advance(), parts.advance()
    assert {key: other[key] for key in ("examples", "tokens")} == {key: one[key] for key in ("examples", "tokens")}
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, None])
def test_parts_hold_each_example_once_in_order(size: int | None, small_config: TrialConfig) -> None:
    trainer = Trainer(small_config.override({"data.batch_size": 7, **BI}))
    batch = trainer._next_batch("sts")
    parts = micro_batches(batch, size)
    assert batch.labels is not None
    assert torch.equal(torch.cat([part.labels for part in parts if part.labels is not None]), batch.labels)
    assert all(part.num_examples == (size or 7) for part in parts[:-1])
    assert sum(int(part.lengths.sum()) for part in parts) == len(batch.token_ids)
    if len(parts) == 1:
        assert parts[0] is batch
