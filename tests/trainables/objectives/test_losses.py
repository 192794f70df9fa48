import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.objectives.losses import DIVERGENCES, LOSSES, divergences
from trainables.tasks import CS224N

logits = st.floats(-200, 200, width=32)


def by_target(table: Mapping[str, Mapping[str, object]]) -> list[tuple[str, str]]:
    return [(name, target) for name, inner in table.items() for target in inner]


def rows(target: str, values: list[float]) -> torch.Tensor:
    tensor = torch.tensor(values)
    return torch.stack([tensor, tensor.flip(0) / 3, -tensor], dim=1) if target == "classes" else tensor


@pytest.mark.parametrize(("name", "target"), by_target(LOSSES))
@settings(deadline=None)
@given(st.lists(logits, min_size=1, max_size=5))
def test_every_loss_is_finite_and_at_least_0_one_an_example(name: str, target: str, values: list[float]) -> None:
    labels = torch.ones(len(values))
    out = LOSSES[name][target](rows(target, values), labels)
    assert out.shape == (len(values),)
    assert torch.isfinite(out).all()
    assert (out >= 0).all()


@pytest.mark.parametrize(("name", "target"), by_target(DIVERGENCES))
@settings(deadline=None)
@given(st.lists(st.tuples(logits, logits), min_size=1, max_size=5))
def test_every_divergence_is_finite_at_least_0_and_0_on_itself(name: str, target: str, pairs: list[tuple[float, float]]) -> None:
    one, two = (rows(target, list(side)).requires_grad_() for side in zip(*pairs, strict=True))
    divergence = DIVERGENCES[name][target]
    out = divergence(one, two)
    assert out.shape == (len(pairs),)
    assert torch.isfinite(out).all()
    assert (out >= -1e-6).all()
    assert divergence(one, one).tolist() == [0.0] * len(pairs)
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(out.sum(), (one, two)))


@pytest.mark.parametrize("target", DIVERGENCES["symmetric_kl"])
@settings(deadline=None)
@given(st.lists(st.tuples(logits, logits), min_size=1, max_size=5))
def test_the_symmetric_ones_are(target: str, pairs: list[tuple[float, float]]) -> None:
    one, two = (rows(target, list(side)) for side in zip(*pairs, strict=True))
    divergence = DIVERGENCES["symmetric_kl"][target]
    torch.testing.assert_close(divergence(one, two), divergence(two, one))


@pytest.mark.parametrize(("name", "target"), by_target(DIVERGENCES))
def test_gradients_flow_into_both_sides(name: str, target: str) -> None:
    one, two = rows(target, [0.3, -1.0]).requires_grad_(), rows(target, [0.5, 2.0]).requires_grad_()
    DIVERGENCES[name][target](one, two).sum().backward()
    assert one.grad.abs().sum() > 0
    assert two.grad.abs().sum() > 0


def test_pinned_losses() -> None:
    losses = LOSSES["default"]
    assert losses["classes"](torch.zeros(1, 5), torch.tensor([2.0])).item() == pytest.approx(math.log(5))
    assert losses["binary"](torch.zeros(2), torch.tensor([0.0, 1.0])).tolist() == pytest.approx([math.log(2)] * 2)
    assert losses["score"](torch.tensor([1.5]), torch.tensor([4.0])).item() == 6.25


def test_ordered_cross_entropy_adds_a_tenth_of_the_squared_distance_of_the_mean_class() -> None:
    ordered = LOSSES["ordered_cross_entropy"]["classes"]
    probabilities = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
    # Mean classes 2.0, 0.6, 1.5; away from the labels 0, 3, 1 by 2, 2.4, 0.5.
    expected = [-math.log(0.1) + 0.4, -math.log(0.1) + 0.576, -math.log(0.25) + 0.025]
    assert ordered(probabilities.log(), torch.tensor([0.0, 3.0, 1.0])).tolist() == pytest.approx(expected, rel=1e-5)


def test_ordered_cross_entropy_costs_more_the_further_off_the_guess() -> None:
    ordered, plain = LOSSES["ordered_cross_entropy"]["classes"], LOSSES["default"]["classes"]
    guesses, labels = torch.eye(5)[:4] * 4, torch.full((4,), 4.0)
    assert plain(guesses, labels).unique().numel() == 1
    assert (ordered(guesses, labels).diff() < -0.1).all()


def test_divergences_equal_their_definitions() -> None:
    chance = torch.Generator().manual_seed(0)
    one, two = (torch.randn(7, 5, dtype=torch.double, generator=chance) for _ in range(2))
    p, q = one.softmax(-1), two.softmax(-1)
    symmetric, forward = DIVERGENCES["symmetric_kl"], DIVERGENCES["kl"]
    torch.testing.assert_close(symmetric["classes"](one, two), ((p * (p / q).log()) + (q * (q / p).log())).sum(-1))
    torch.testing.assert_close(forward["classes"](one, two), (q * (q / p).log()).sum(-1))
    as_classes = [torch.stack([torch.zeros(7, dtype=torch.double), side[:, 0]], dim=1) for side in (one, two)]
    for divergence in (symmetric, forward):
        torch.testing.assert_close(divergence["binary"](one[:, 0], two[:, 0]), divergence["classes"](*as_classes))


def test_pinned_divergences() -> None:
    """Of the prediction 0.5 from the reference 0.8: KL(reference || prediction) = 0.8 ln 1.6 + 0.2 ln 0.4."""
    prediction, reference = torch.tensor([0.0]), torch.tensor([math.log(4)])
    assert DIVERGENCES["kl"]["binary"](prediction, reference).item() == pytest.approx(0.192745, abs=1e-6)
    assert DIVERGENCES["kl"]["binary"](reference, prediction).item() == pytest.approx(0.223144, abs=1e-6)
    assert DIVERGENCES["symmetric_kl"]["binary"](prediction, reference).item() == pytest.approx(0.415888, abs=1e-6)
    assert DIVERGENCES["kl"]["score"](torch.tensor([1.0]), torch.tensor([2.5])).item() == 2.25


def test_divergences_of_tasks_are_their_own_reduced_over_examples() -> None:
    tasks = [CS224N.by_name["sts"], CS224N.by_name["qqp"]]
    predictions = {"sts": torch.tensor([1.0, 2.0]), "qqp": torch.tensor([0.0])}
    references = {"sts": torch.tensor([1.0, 4.0]), "qqp": torch.tensor([math.log(4)])}
    means = divergences("kl", tasks, predictions, references)
    assert list(means) == ["sts", "qqp"]
    assert means["sts"].item() == 2.0
    assert means["qqp"].item() == pytest.approx(0.192745, abs=1e-6)
    assert divergences("kl", tasks, predictions, references, torch.sum)["sts"].item() == 4.0
