import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.outside.choosing import choose_nearest, choose_random, draw_shots, nearest_to, quotas


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 100))
def test_quotas_add_up_and_are_near_their_share(weights, total):
    parts = quotas(np.array(weights), total)
    assert parts.sum() == (total if any(weights) else 0)
    if any(weights):
        assert (np.abs(parts - np.array(weights) / sum(weights) * total) < 1).all()


def test_random_ones_are_spread_as_the_own_rows():
    chance = np.random.default_rng(0)
    own_labels = np.repeat([0, 1], [30, 10])
    own_words = np.concatenate([np.full(20, 3), np.full(10, 12), np.full(10, 7)])
    words, labels = chance.integers(1, 30, 4000), chance.integers(0, 3, 4000)
    chosen = choose_random(words, labels, own_words, own_labels, total=80, chance=chance)
    cells = list(zip(labels[chosen].tolist(), (words[chosen] // 5).tolist(), strict=True))
    assert {cell: cells.count(cell) for cell in cells} == {(0, 0): 40, (0, 2): 20, (1, 1): 20}
    assert len(set(chosen.tolist())) == 80


def test_a_bin_that_has_too_few_gives_what_it_has():
    own_words, own_labels = np.array([3, 12]), np.array([0, 0])
    chosen = choose_random(
        np.array([3, 3, 3, 12, 40]), np.zeros(5, int), own_words, own_labels, total=6, chance=np.random.default_rng(0)
    )
    assert chosen.tolist() == [0, 1, 2, 3]


def test_the_nearest_of_each_label():
    own = np.array([[1.0, 0], [1, 0], [0, 1]])
    angles = np.array([0.1, 0.9, 0.3, 1.5, 0.2, 1.2])
    vectors, labels = np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([0, 0, 0, 1, 1, 1])
    assert choose_nearest(vectors, labels, own, np.array([0, 0, 1]), 2).tolist() == [0, 2, 3, 5]
    assert choose_nearest(vectors, labels, own, np.array([0, 0, 1]), 9).tolist() == [0, 1, 2, 3, 4, 5]
    assert nearest_to(vectors, np.array([0, 1.0]), 3).tolist() == [1, 3, 5]


@pytest.mark.parametrize("count", [0, 3, 11, 100])
def test_shots_have_each_label_as_often_as_any_other(count):
    labels = np.repeat(np.arange(5), [50, 3, 20, 4, 9])
    shots = draw_shots(labels, count, np.random.default_rng(1))
    found = np.bincount(labels[shots], minlength=5)
    assert len(set(shots.tolist())) == len(shots) == min(count, len(labels))
    assert count == 100 or found.max() - found.min() <= 1
    assert shots.tolist() == draw_shots(labels, count, np.random.default_rng(1)).tolist()
