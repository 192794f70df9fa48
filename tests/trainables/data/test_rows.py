import math

from hypothesis import given
from hypothesis import strategies as st

from trainables.data.rows import training_rows


@given(st.integers(0, 500), st.floats(0.001, 1), st.floats(0.001, 1))
def test_a_smaller_part_lies_inside_each_larger_one(num_rows: int, one: float, other: float) -> None:
    small, large = (training_rows(num_rows, share) for share in sorted((one, other)))
    assert len(small) == math.ceil(min(one, other) * num_rows)
    assert set(small) <= set(large) <= set(range(num_rows))
    assert list(small) == sorted(set(small))
    assert list(training_rows(num_rows, 1.0)) == list(range(num_rows))


def test_a_part_is_drawn_from_all_over() -> None:
    rows = training_rows(10_000, 0.1)
    assert abs(rows.mean() - 5000) < 300
    assert rows.min() < 100
    assert rows.max() > 9900


@given(st.integers(0, 60), st.floats(0.001, 1), st.integers(1, 8))
def test_copies_come_with_their_originals(originals: int, share: float, copies: int) -> None:
    alone, rows = training_rows(originals, share), training_rows(originals * (1 + copies), share, copies)
    assert list(rows[: len(alone)]) == list(alone)
    assert list(rows[len(alone) :]) == [originals + row * copies + copy for row in alone for copy in range(copies)]
    assert rows.dtype == alone.dtype
