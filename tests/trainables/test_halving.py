import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import TrialConfig
from trainables.halving import halved

BASE = TrialConfig()


@given(st.integers(1, 4096), st.none() | st.integers(1, 4096))
def test_half_as_many_at_once_of_the_same_batch(batch_size: int, micro: int | None) -> None:
    config = BASE.override({"data.batch_size": batch_size, "data.micro_batch_size": micro})
    smaller, at_once = halved(config), min(batch_size, micro or batch_size)
    if at_once == 1:
        assert smaller is None
        return
    assert smaller is not None and smaller.data.micro_batch_size == -(-at_once // 2) < at_once
    assert smaller.override({"data.micro_batch_size": micro}) == config


def test_a_loss_over_the_whole_batch_is_not_halved() -> None:
    ranked = {"encoder.pair_encoding": "bi", "objective.ranking.weights.qqp": 0.5}
    assert halved(BASE.override(ranked)) is None
    with pytest.raises(ValueError, match=r"data.micro_batch_size=4 < data.batch_size=16: objective.ranking .* but qqp has"):
        BASE.override({**ranked, "data.micro_batch_size": 4})
    BASE.override({**ranked, "data.micro_batch_size": 16})
