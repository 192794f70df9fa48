import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.scales import bin_of, bins, place, ticks
from search_spaces.domains import Categorical, Domain, Float, Int


def test_places_lie_on_the_ranges_own_scale() -> None:
    assert place(Float(1e-5, 1e-3, log=True), 1e-4) == pytest.approx(0.5)
    assert place(Int(0, 4), 1) == 0.25
    assert place(Categorical(("a", "b", "c")), "c") == 1
    assert place(Categorical(("a",)), "a") == 0
    assert place(Float(2, 2), 2) == 0.5


@pytest.mark.parametrize(
    ("domain", "names"),
    [
        (Float(0.99, 0.999), ("0.99 to 0.992", "0.992 to 0.994", "0.994 to 0.997", "0.997 to 0.999")),
        (Float(0.1, 0.5), ("0.1 to 0.2", "0.2 to 0.3", "0.3 to 0.4", "0.4 to 0.5")),
        (Float(1, 1), ("1",)),
        (Int(120, 128), ("120 to 121", "122 to 123", "124 to 125", "126 to 128")),
        (Int(16, 256, log=True), ("16 to 31", "32 to 63", "64 to 127", "128 to 256")),
        (Int(1, 3), ("1", "2", "3")),
        (Int(1, 4, log=True), ("1", "2", "3", "4")),
        (Int(7, 7), ("7",)),
        (Categorical((1e-4, 1.0001e-4)), ("0.0001", "0.00010001")),
        (Categorical((True, "true")), ("True", "'true'")),
    ],
)
def test_names_of_bins(domain: Domain, names: tuple[str, ...]) -> None:
    assert bins(domain) == names


@given(st.floats(1e-6, 1e6), st.floats(1e-9, 10), st.booleans())
def test_no_two_bins_of_a_range_are_named_alike(low: float, width: float, log: bool) -> None:
    names = bins(Float(low, low * (1 + width), log))
    assert len(set(names)) == len(names) == 4


@given(st.integers(1, 300), st.integers(0, 40), st.booleans())
def test_an_integer_stands_in_the_bin_whose_name_holds_it(low: int, width: int, log: bool) -> None:
    values = range(low, low + width + 1)
    domain = Int(low, low + width, log)
    held = [[int(end) for end in name.split(" to ")] for name in bins(domain)]
    assert [value for ends in held for value in range(ends[0], ends[-1] + 1)] == list(values)
    assert all(held[bin_of(domain, value)][0] <= value <= held[bin_of(domain, value)][-1] for value in values)


def test_the_ends_of_a_narrow_axis_differ() -> None:
    assert ticks(Float(0.99991, 0.99994)) == ((0.0, "0.99991"), (1.0, "0.99994"))
