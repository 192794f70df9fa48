import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config_parts import OptimizerConfig
from trainables.lr_schedules import LR_SCHEDULES

progresses, warmups = st.floats(0, 1), st.floats(0.01, 0.9)


def test_every_name_of_the_config_has_one() -> None:
    assert set(OptimizerConfig.model_fields["lr_schedule"].annotation.__args__) == set(LR_SCHEDULES)


@pytest.mark.parametrize("name", LR_SCHEDULES)
@given(progresses, warmups)
def test_every_factor_is_in_0_to_1(name: str, progress: float, warmup: float) -> None:
    assert -1e-12 <= LR_SCHEDULES[name](progress, warmup) <= 1 + 1e-12


@pytest.mark.parametrize("name", LR_SCHEDULES)
@given(progresses, progresses, warmups)
def test_every_schedule_climbs_to_1_and_never_climbs_again(name: str, one: float, two: float, warmup: float) -> None:
    schedule, (low, high) = LR_SCHEDULES[name], sorted((one, two))
    assert schedule(warmup, warmup) == pytest.approx(1)
    if high <= warmup:
        assert schedule(low, warmup) <= schedule(high, warmup) + 1e-9
    if low >= warmup:
        assert schedule(low, warmup) >= schedule(high, warmup) - 1e-9


@pytest.mark.parametrize(
    ("name", "warmup", "factors"),
    [
        ("constant", 0.0, [1, 1, 1, 1, 1]),
        ("constant", 0.5, [0, 0.5, 1, 1, 1]),
        ("linear", 0.0, [1, 0.75, 0.5, 0.25, 0]),
        ("linear", 0.5, [0, 0.5, 1, 0.5, 0]),
        ("cosine", 0.0, [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0]),
        ("slanted_triangular", 0.5, [1 / 32, 33 / 64, 1, 33 / 64, 1 / 32]),
    ],
)
def test_pinned(name: str, warmup: float, factors: list[float]) -> None:
    assert [LR_SCHEDULES[name](i / 4, warmup) for i in range(5)] == pytest.approx(factors)
