import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.model.hidden import Hidden, hidden_of
from trainables.model.pooling import POOLINGS, AttentionPooling

LENGTHS = np.array([3, 1, 4])
STATES = torch.arange(16.0).view(8, 2)
EVERY_LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=6).map(np.array)


def random_hidden(lengths: np.ndarray, seed: int, dtype: torch.dtype = torch.float64) -> Hidden:
    states = torch.randn(int(lengths.sum()), 5, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return hidden_of(states.requires_grad_(), lengths)


def attention(weight: torch.Tensor) -> AttentionPooling:
    pooling = AttentionPooling(weight.shape[1]).to(weight.dtype)
    with torch.no_grad():
        pooling.score.weight.copy_(weight)
    return pooling


def test_cls_is_each_first_token() -> None:
    assert POOLINGS["cls"](2)(hidden_of(STATES, LENGTHS)).tolist() == [[0, 1], [6, 7], [8, 9]]


def test_cls_is_the_token_that_is_said_to_be_it_and_the_others_take_all() -> None:
    plain, other = hidden_of(STATES, LENGTHS), hidden_of(STATES, LENGTHS, np.array([1, 0, 3]))
    assert POOLINGS["cls"](2)(other).tolist() == [[2, 3], [6, 7], [14, 15]]
    for name in sorted(POOLINGS.keys() - {"cls"}):
        pooling = POOLINGS[name](2)
        assert torch.equal(pooling(plain), pooling(other))


def test_mean_is_over_each_sequence_alone() -> None:
    assert POOLINGS["mean"](2)(hidden_of(STATES, LENGTHS)).tolist() == [[2, 3], [6, 7], [11, 12]]


def test_max_is_of_each_feature_over_each_sequence_alone() -> None:
    states = torch.tensor([[-1.0, 9], [-3, 2], [-2, 4], [-7, -7], [5, 0], [1, 8], [0, 0], [6, 1]])
    assert POOLINGS["max"](2)(hidden_of(states, LENGTHS)).tolist() == [[-1, 9], [-7, -7], [6, 8]]


def test_max_sends_its_gradient_to_the_largest_and_ties_share_it() -> None:
    states = torch.tensor([[1.0, 2], [3, 2], [0, 2], [4, 4]], requires_grad=True)
    POOLINGS["max"](2)(hidden_of(states, np.array([3, 1]))).backward(torch.tensor([[6.0, 6], [1, 1]]))
    assert states.grad.tolist() == [[0, 2], [6, 2], [0, 2], [1, 1]]


def test_attention_starts_as_the_mean_and_learns() -> None:
    hidden = random_hidden(LENGTHS, 0)
    pooling = POOLINGS["attention"](5).double()
    out = pooling(hidden)
    torch.testing.assert_close(out, POOLINGS["mean"](5)(hidden))
    (out**2).sum().backward()
    assert pooling.score.weight.grad.abs().min() > 0


def test_attention_takes_the_likeliest_token_and_stands_huge_scores() -> None:
    pooled = attention(torch.tensor([[1000.0, 0]]))(hidden_of(STATES, LENGTHS))
    assert pooled.tolist() == [[4, 5], [6, 7], [14, 15]]
    pooled = attention(torch.tensor([[-1000.0, 0]]))(hidden_of(STATES, LENGTHS))
    assert pooled.tolist() == [[0, 1], [6, 7], [8, 9]]


@given(lengths=EVERY_LENGTHS, seed=st.integers(0, 99))
@pytest.mark.parametrize("name", POOLINGS)
def test_each_equals_a_plain_loop_over_sequences_in_value_and_gradient(name: str, lengths: np.ndarray, seed: int) -> None:
    hidden = random_hidden(lengths, seed)
    weight = torch.randn(1, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    plain = {
        "cls": lambda states: states[0],
        "mean": lambda states: states.mean(0),
        "max": lambda states: states.max(0).values,
        "attention": lambda states: torch.softmax(states @ weight[0], 0) @ states,
    }[name]
    pooling = attention(weight) if name == "attention" else POOLINGS[name](5)
    ours = pooling(hidden)
    theirs = torch.stack([plain(states) for states in hidden.states.split(lengths.tolist())])
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    gradients = [torch.autograd.grad(out, hidden.states, upstream)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", POOLINGS)
def test_all_agree_on_sequences_of_one_token(name: str) -> None:
    torch.testing.assert_close(POOLINGS[name](2)(hidden_of(STATES, np.ones(8, dtype=np.int64))), STATES)
