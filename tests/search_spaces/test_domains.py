import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from search_spaces.domains import Categorical, Domain, Float, Int

VALUES = st.integers(-5, 5) | st.floats(-5, 5) | st.booleans() | st.sampled_from(["a", "b", "1"])


def ranges(kind: type[Float] | type[Int], numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(numbers, numbers, st.booleans()).map(
        lambda n: kind(min(n[:2]), max(n[:2]), log=n[2] and min(n[:2]) > 0),
    )


DOMAINS: st.SearchStrategy[Domain] = (
    ranges(Float, st.floats(allow_nan=False, allow_infinity=False))
    | ranges(Int, st.integers(-(10**9), 10**9))
    | st.lists(VALUES, min_size=1, unique_by=lambda v: (type(v), v)).map(lambda values: Categorical(tuple(values)))
)


@example(Float(-1.7e308, 1.7e308), 3)
@example(Float(1e-300, 1e300, log=True), 3)
@given(DOMAINS, st.integers(1, 7))
def test_the_points_of_a_grid_lie_in_the_domain_each_once_in_order(domain: Domain, num_points: int) -> None:
    points = domain.grid(num_points)
    assert all(domain.contains(point) for point in points)
    assert len({(type(point), point) for point in points}) == len(points) >= 1
    if not isinstance(domain, Categorical):
        assert len(points) <= num_points
        assert list(points) == sorted(points)
        assert points[0] == domain.low and (points[-1] == domain.high or num_points == 1)


@given(DOMAINS)
def test_no_domain_holds_what_is_of_another_kind(domain: Domain) -> None:
    for value in (math.nan, math.inf, None, [1], "no choice"):
        assert not domain.contains(value)
    if not isinstance(domain, Categorical):
        assert not domain.contains(True) and not domain.contains(str(domain.low))


@given(st.lists(VALUES, min_size=1, unique_by=lambda v: (type(v), v)), VALUES)
def test_a_choice_is_of_its_type(choices: list[Any], value: Any) -> None:
    expected = (type(value), value) in [(type(choice), choice) for choice in choices]
    assert Categorical(tuple(choices)).contains(value) == expected
    assert Categorical(tuple(choices)).grid(1) == tuple(choices)


def test_the_points_of_some_grids() -> None:
    assert Float(0, 1).grid(3) == (0, 0.5, 1)
    assert Float(1e-4, 1e-2, log=True).grid(3) == pytest.approx((1e-4, 1e-3, 1e-2))
    assert Float(2.0, 2.0).grid(3) == (2.0,)
    assert Int(16, 256, log=True).grid(3) == (16, 64, 256)
    assert Int(1, 2).grid(5) == (1, 2)
    assert Int(0, 10).grid(1) == (0,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(3, 1), "low <= high must hold, but got low=3, high=1"),
        (lambda: Int(3, 1), "low <= high must hold, but got low=3, high=1"),
        (lambda: Float(0, 1, log=True), "low > 0 must hold where log is on, but got low=0"),
        (lambda: Int(-1, 1, log=True), "low > 0 must hold where log is on, but got low=-1"),
        (lambda: Float(math.nan, 1), "bounds must be finite, but got low=nan, high=1"),
        (lambda: Float(0, math.inf), "bounds must be finite, but got low=0, high=inf"),
        (lambda: Categorical(()), "at least one choice must be given, but got none"),
        (lambda: Categorical(("a", "b", "a")), r"each choice may stand once, but got \['a', 'b', 'a'\]"),
        (lambda: Float(0, 1).grid(0), "num_points >= 1 must hold, but got 0"),
    ],
)
def test_a_domain_that_cannot_be_is_refused_with_its_values(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_true_and_1_are_two_choices() -> None:
    domain = Categorical((True, 1))
    assert domain.contains(True) and domain.contains(1) and not domain.contains(1.0)
