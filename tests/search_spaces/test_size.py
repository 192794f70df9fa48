"""Combinations are counted as going through all of them would count them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.domains import Categorical, Float, Int
from search_spaces.size import num_combinations
from search_spaces.space import Dimension, Space
from search_spaces.studies import basics, leaderboard
from trainables.config import TrialConfig

BASE = TrialConfig()
KINDS = Dimension("heads.*.kind", Categorical(("linear", "mlp")))
WIDTH = Dimension("heads.*.hidden_size", Int(16, 18), when={"heads.*.kind": ("mlp",)})
SMART = Dimension("objective.smart.enabled", Categorical((False, True)))
WEIGHT = Dimension("objective.smart.weights.*", Float(0.1, 5), when={"objective.smart.enabled": (True,)})
DROPOUT = Dimension("objective.smart.dropout", Categorical(("same_masks", "off")), when={"objective.smart.enabled": (True,)})
LAYERS = Dimension("phases.0.frozen_layers", Int(0, 3))
OF_LAYERS = Dimension("encoder.pooling", Categorical(("cls", "mean", "max")), when={"phases.0.frozen_layers": (0, 2)})
ALL = (KINDS, WIDTH, SMART, WEIGHT, DROPOUT, LAYERS, OF_LAYERS)


@given(st.sets(st.sampled_from(range(len(ALL))), min_size=1))
def test_it_is_the_number_of_points_of_the_finest_grid(chosen: set[int]) -> None:
    space = Space("toy", tuple(ALL[place] for place in sorted(chosen)))
    points = {tuple(point.items()) for point in space.grid(BASE, 99)}
    by_choice = {tuple((path, value) for path, value in point if path != WEIGHT.path) for point in points}
    assert num_combinations(space, BASE) == len(by_choice)


def test_some_spaces() -> None:
    assert num_combinations(Space("toy", ALL), BASE) == (1 + 3) * (1 + 2) * (3 + 3 + 1 + 1)
    assert num_combinations(basics.SPACE, BASE) == 3 * 2 * 4 * 3 * (1 + 241) * 2
    assert 10**15 < num_combinations(leaderboard.SPACE, BASE) < 10**19


@pytest.mark.parametrize("low", [2, 3])
def test_a_condition_that_the_base_config_meets_or_not(low: int) -> None:
    alone = Space("toy", (Dimension("encoder.lora.rank", Int(1, 4), when={"data.batch_size": (16,)}), SMART))
    assert num_combinations(alone, BASE) == 8
    assert num_combinations(alone, BASE.override({"data.batch_size": low})) == 2
