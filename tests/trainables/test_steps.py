import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.steps import EXPLODED, StepResult, explosion

LOSSES = st.lists(st.floats(0, 1e12), min_size=1, max_size=9)


def steps(*losses: float, task: str = "sst") -> list[StepResult]:
    return [StepResult(loss, {task: loss}, 1.0, 1e-3, {}) for loss in losses]


@given(LOSSES, st.floats(0, 1e6))
def test_a_loss_within_a_thousand_times_its_first_never_explodes(losses: list[float], first: float) -> None:
    bounded = [min(loss, EXPLODED * max(1.0, first)) for loss in losses]
    assert explosion(steps(*bounded), {"sst": first}) == ""


@given(LOSSES, st.floats(0, 1e6), st.floats(1.01, 1e6))
def test_one_beyond_it_in_most_steps_does_and_is_named(losses: list[float], first: float, times: float) -> None:
    beyond = times * EXPLODED * max(1.0, first)
    results = steps(*losses[: (len(losses) - 1) // 2], *[beyond] * len(losses))
    assert explosion(results, {"qqp": 1.0, "sst": first}).startswith("the loss of sst has exploded: ")
    assert explosion(results, {"qqp": 1.0}) == ""


@given(LOSSES.filter(lambda losses: len(losses) > 2), st.floats(1e5, 1e300))
def test_a_single_jump_is_none(losses: list[float], jump: float) -> None:
    calm = [min(loss, 10.0) for loss in losses]
    assert explosion([*steps(*calm), *steps(jump)], {"sst": 1.0}) == ""


@pytest.mark.parametrize(("loss", "first", "exploded"), [(999, 0.1, False), (1001, 0.1, True), (8000, 9, False), (9001, 9, True)])
def test_some_losses(loss: float, first: float, exploded: bool) -> None:
    assert bool(explosion(steps(loss), {"sst": first})) == exploded
    assert not explosion([], {"sst": first})
    assert not explosion(steps(math.inf), {})
