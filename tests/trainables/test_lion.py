import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables import lion
from trainables.lion import Lion


def plain(weight: np.ndarray, gradients: list[np.ndarray], *, lr: float, beta1: float, beta2: float, decay: float) -> np.ndarray:
    """Algorithm 2 of the paper."""
    average = np.zeros_like(weight)
    for gradient in gradients:
        update = np.sign(beta1 * average + (1 - beta1) * gradient)
        weight = weight - lr * (update + decay * weight)
        average = beta2 * average + (1 - beta2) * gradient
    return weight


@given(
    st.integers(0, 1000),
    st.sampled_from([(), (5,), (3, 4)]),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([(0.9, 0.99), (0.0, 0.5)]),
)
def test_it_is_the_papers_algorithm(seed: int, shape: tuple[int, ...], decay: float, betas: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    start, gradients = rng.standard_normal(shape), [rng.standard_normal(shape) for _ in range(5)]
    weight = torch.nn.Parameter(torch.tensor(start))
    optimizer = Lion([{"params": [weight], "weight_decay": decay}], lr=0.1, betas=betas)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    expected = plain(start, gradients, lr=0.1, beta1=betas[0], beta2=betas[1], decay=decay)
    np.testing.assert_allclose(weight.detach().numpy(), expected, atol=1e-12)


def test_every_weight_moves_by_the_rate_against_its_gradients_sign() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.tensor([1e-6, -1e6, 0.0, 3.0])
    Lion([{"params": [weight]}], lr=0.25).step()
    assert weight.tolist() == [-0.25, 0.25, 0.0, -0.25]


def test_decay_is_decoupled_from_gradient_and_average() -> None:
    weight = torch.nn.Parameter(torch.tensor([8.0]))
    weight.grad = torch.zeros(1)
    optimizer = Lion([{"params": [weight]}], lr=0.25, weight_decay=0.5)
    optimizer.step()
    assert weight.item() == 7.0
    assert optimizer.state[weight]["exp_avg"].item() == 0.0


def test_blocks_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for block in (2**18, 5):
        monkeypatch.setattr(lion, "BLOCK", block)
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 21).reshape(3, 7))
        optimizer = Lion([{"params": [weight]}], lr=0.1, weight_decay=0.1)
        for sign in (1.0, -0.3, 0.2):
            weight.grad = (weight.detach() * sign).t().contiguous().t()  # not laid out as the weight is
            optimizer.step()
        results.append(weight.detach())
    assert torch.equal(*results)


def test_a_weight_without_gradient_stands_still_and_has_no_state() -> None:
    weight, other = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    other.grad = torch.ones(2)
    optimizer = Lion([{"params": [weight, other]}], lr=0.1, weight_decay=0.5)
    optimizer.step()
    assert weight.tolist() == [1.0, 1.0]
    assert weight not in optimizer.state
    assert set(optimizer.state[other]) == {"exp_avg"}
