import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.objectives.losses import DIVERGENCES, LOSSES

logits = st.floats(-200, 200, width=32)


def rows(target: str, values: list[float]) -> torch.Tensor:
    tensor = torch.tensor(values)
    return torch.stack([tensor, tensor.flip(0) / 3, -tensor], dim=1) if target == "classes" else tensor


@pytest.mark.parametrize("target", LOSSES)
@settings(deadline=None)
@given(st.lists(logits, min_size=1, max_size=5))
def test_every_loss_is_finite_and_at_least_0_one_an_example(target: str, values: list[float]) -> None:
    labels = torch.ones(len(values))
    out = LOSSES[target](rows(target, values), labels)
    assert out.shape == (len(values),)
    assert torch.isfinite(out).all()
    assert (out >= 0).all()


@pytest.mark.parametrize("target", DIVERGENCES)
@settings(deadline=None)
@given(st.lists(st.tuples(logits, logits), min_size=1, max_size=5))
def test_every_divergence_is_finite_symmetric_at_least_0_and_0_on_itself(target: str, pairs: list[tuple[float, float]]) -> None:
    one, two = (rows(target, list(side)) for side in zip(*pairs, strict=True))
    divergence = DIVERGENCES[target]
    out = divergence(one, two)
    assert out.shape == (len(pairs),)
    assert torch.isfinite(out).all()
    assert (out >= -1e-6).all()
    torch.testing.assert_close(out, divergence(two, one))
    assert divergence(one, one).tolist() == [0.0] * len(pairs)


@pytest.mark.parametrize("target", DIVERGENCES)
def test_gradients_flow_into_both_sides(target: str) -> None:
    one, two = rows(target, [0.3, -1.0]).requires_grad_(), rows(target, [0.5, 2.0]).requires_grad_()
    DIVERGENCES[target](one, two).sum().backward()
    assert one.grad.abs().sum() > 0
    assert two.grad.abs().sum() > 0


def test_pinned_losses() -> None:
    assert LOSSES["classes"](torch.zeros(1, 5), torch.tensor([2.0])).item() == pytest.approx(math.log(5))
    assert LOSSES["binary"](torch.zeros(2), torch.tensor([0.0, 1.0])).tolist() == pytest.approx([math.log(2)] * 2)
    assert LOSSES["score"](torch.tensor([1.5]), torch.tensor([4.0])).item() == 6.25


def test_divergences_equal_their_definitions() -> None:
    one, two = torch.randn(7, 5, dtype=torch.double), torch.randn(7, 5, dtype=torch.double)
    p, q = one.softmax(-1), two.softmax(-1)
    torch.testing.assert_close(DIVERGENCES["classes"](one, two), ((p * (p / q).log()) + (q * (q / p).log())).sum(-1))
    as_classes = [torch.stack([torch.zeros(7, dtype=torch.double), side[:, 0]], dim=1) for side in (one, two)]
    torch.testing.assert_close(DIVERGENCES["binary"](one[:, 0], two[:, 0]), DIVERGENCES["classes"](*as_classes))
