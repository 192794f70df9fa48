import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.model.dropout import DrawnOnce, draw_mask, dropout


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.floats(0, 0.99), st.integers(1, 70))
def test_masks_hold_zero_and_one_other_value(p: float, size: int) -> None:
    mask = draw_mask(torch.Size((size,)), p, seeded())
    assert set(mask.tolist()) <= {0.0, mask.max().item()}
    assert mask.max().item() == 0 or mask.max().item() == pytest.approx(1 / (1 - p), rel=2e-2, abs=1e-4)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.3, 0.5, 0.9])
def test_share_and_mean_are_right_within_5_standard_errors(p: float) -> None:
    mask = draw_mask(torch.Size((1_000_003,)), p, seeded())
    error = (p * (1 - p) / len(mask)) ** 0.5
    assert abs((mask == 0).double().mean().item() - p) < 5 * error + 2**-15
    assert abs(mask.double().mean().item() - 1) < 5 * error / (1 - p)


def test_entries_are_independent_of_their_neighbours() -> None:
    # Four entries share one 64-bit draw: every distance up to 9 covers all pairs of lanes, and pairs of draws.
    dropped = (draw_mask(torch.Size((1_000_000,)), 0.5, seeded(3)) == 0).double() - 0.5
    for distance in range(1, 10):
        correlation = (dropped[:-distance] * dropped[distance:]).mean().item() * 4
        assert abs(correlation) < 5e-3, distance


def test_each_lane_has_the_right_share() -> None:
    lanes = (draw_mask(torch.Size((400_000,)), 0.1, seeded(5)) == 0).double().view(-1, 4).mean(0)
    assert lanes.tolist() == pytest.approx([0.1] * 4, abs=5 * (0.09 / 100_000) ** 0.5)


def test_generator_decides_alone() -> None:
    before = torch.get_rng_state()
    values = torch.ones(50, 3)
    one, two = dropout(values, 0.4, seeded()), dropout(values, 0.4, seeded())
    assert torch.equal(one, two)
    assert not torch.equal(one, dropout(values, 0.4, seeded(1)))
    assert torch.equal(before, torch.get_rng_state())


def test_without_probability_or_generator_nothing_is_drawn() -> None:
    values, generator = torch.randn(4, 4), seeded()
    state = generator.get_state()
    assert dropout(values, 0.0, generator) is values
    assert dropout(values, 0.5, None) is values
    assert torch.equal(generator.get_state(), state)


def test_gradient_passes_where_values_pass() -> None:
    values = torch.ones(100, requires_grad=True)
    out = dropout(values, 0.5, seeded())
    out.sum().backward()
    assert torch.equal(values.grad, out.detach())


def test_masks_drawn_once_are_those_of_a_rewound_generator() -> None:
    shapes = [torch.Size((3, 4)), torch.Size((2, 5, 5)), torch.Size((7,))]
    once, plain = DrawnOnce(seeded(1)), seeded(1)
    for _ in range(3):
        plain.set_state(seeded(1).get_state())
        once.begin_again()
        for shape in shapes:
            assert torch.equal(draw_mask(shape, 0.3, once), draw_mask(shape, 0.3, plain))


def test_masks_drawn_once_leave_the_generator_where_one_pass_leaves_it() -> None:
    generator, plain = seeded(1), seeded(1)
    once = DrawnOnce(generator)
    for _ in range(2):
        once.begin_again()
        dropout(torch.ones(9), 0.3, once)
    dropout(torch.ones(9), 0.3, plain)
    assert torch.equal(generator.get_state(), plain.get_state())


def test_another_shape_is_another_pass() -> None:
    once = DrawnOnce(seeded(1))
    draw_mask(torch.Size((3,)), 0.3, once)
    once.begin_again()
    with pytest.raises(AssertionError, match="the same shapes"):
        draw_mask(torch.Size((4,)), 0.3, once)
