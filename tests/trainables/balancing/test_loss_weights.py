import math

import pytest
import torch

from trainables.balancing.loss_weights import LossWeights
from trainables.config_parts import BalancingConfig
from trainables.tasks import CS224N

FIXED = {"sst": 1.0, "qqp": 100.0, "sts": 0.5}


def make(weighting: str) -> LossWeights:
    return LossWeights(BalancingConfig(loss_weights=FIXED, weighting=weighting), CS224N.by_name)


def test_fixed_it_is_the_weighted_sum_of_the_tasks_at_hand() -> None:
    weights = make("fixed")
    assert weights({"sst": torch.tensor(2.0), "sts": torch.tensor(3.0)}).item() == 3.5
    assert not list(weights.parameters())
    assert not weights.state_dict()


def test_uncertainty_by_hand() -> None:
    weights = make("uncertainty")
    losses = {"sst": torch.tensor(2.0), "sts": torch.tensor(3.0)}
    assert weights(losses).item() == 2.0 + 0.5 * (0.5 * 3.0)
    with torch.no_grad():
        weights.log_variances["sst"].fill_(math.log(4))
        weights.log_variances["sts"].fill_(-math.log(2))
        weights.log_variances["qqp"].fill_(9.0)  # has no turn
    expected = (2.0 / 4 + math.log(2)) + 0.5 * (0.5 * 2 * 3.0 - math.log(2) / 2)
    assert weights(losses).item() == pytest.approx(expected)


@pytest.mark.parametrize(("task", "scale"), [("sst", 1.0), ("qqp", 1.0), ("sts", 0.5)])
def test_the_factor_settles_where_it_undoes_twice_the_scaled_loss(task: str, scale: float) -> None:
    weights = make("uncertainty")
    loss = torch.tensor(3.0)
    with torch.no_grad():
        weights.log_variances[task].fill_(math.log(2 * scale * 3.0))
    weights({task: loss}).backward()
    assert weights.log_variances[task].grad.item() == pytest.approx(0.0, abs=1e-5)
    assert all(weights.log_variances[other].grad is None for other in FIXED if other != task)


def test_what_is_learnt_is_the_factor_of_the_loss() -> None:
    weights = make("uncertainty")
    with torch.no_grad():
        weights.log_variances["sst"].fill_(math.log(4))
    assert {task: factor.item() for task, factor in weights.learnt().items()} == {"sst": 0.25, "qqp": 100.0, "sts": 0.25}
    loss = torch.tensor(2.0, requires_grad=True)
    weights({"sst": loss}).backward()
    assert loss.grad.item() == weights.learnt()["sst"].item()
    assert make("fixed").learnt() == {}


def test_a_fixed_weight_scales_the_gradient_whatever_is_learnt() -> None:
    gradients = []
    for factor in (1.0, 3.0):
        weights = LossWeights(
            BalancingConfig(loss_weights={"sst": factor}, weighting="uncertainty"), {"sst": CS224N.by_name["sst"]}
        )
        loss = torch.tensor(2.0, requires_grad=True)
        weights({"sst": loss}).backward()
        gradients.append((loss.grad.item(), weights.log_variances["sst"].grad.item()))
    assert gradients == [(1.0, -1.5), (3.0, -4.5)]
