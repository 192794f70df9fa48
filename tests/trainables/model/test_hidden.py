import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.model.hidden import Hidden, hidden_of

PARTS = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4).map(np.array), min_size=1, max_size=4)


def fields(hidden: Hidden) -> list[list[float]]:
    tensors = (hidden.states, hidden.starts, hidden.sequence_of_token, hidden.lengths, hidden.cls_rows)
    return [values.tolist() for values in tensors]


def test_it_says_where_each_sequence_lies() -> None:
    hidden = hidden_of(torch.arange(12.0).view(6, 2), np.array([2, 1, 3]))
    assert fields(hidden)[1:] == [[0, 2, 3], [0, 0, 1, 2, 2, 2], [2, 1, 3], [0, 2, 3]]
    assert hidden_of(hidden.states, np.array([2, 1, 3]), np.array([1, 0, 2])).cls_rows.tolist() == [1, 2, 5]


@given(parts=PARTS)
@pytest.mark.parametrize("first_tokens_only", [False, True])
def test_parts_of_a_joined_batch_are_as_if_read_alone(parts: list[np.ndarray], first_tokens_only: bool) -> None:
    rows = [np.ones_like(part) if first_tokens_only else part for part in parts]
    lengths = np.concatenate(rows)
    states = torch.arange(2.0 * int(lengths.sum())).view(-1, 2)
    alone = [hidden_of(inner, part) for inner, part in zip(states.split([int(part.sum()) for part in rows]), rows, strict=True)]
    assert [fields(part) for part in hidden_of(states, lengths).split(parts)] == [fields(part) for part in alone]


@given(parts=PARTS)
def test_parts_keep_their_cls(parts: list[np.ndarray]) -> None:
    positions = [part - 1 for part in parts]
    states = torch.arange(2.0 * sum(int(part.sum()) for part in parts)).view(-1, 2)
    joined = hidden_of(states, np.concatenate(parts), np.concatenate(positions))
    inner = states.split([int(part.sum()) for part in parts])
    alone = [hidden_of(*values) for values in zip(inner, parts, positions, strict=True)]
    assert [fields(part) for part in joined.split(parts)] == [fields(part) for part in alone]
