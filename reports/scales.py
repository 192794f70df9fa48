"""What was searched of one parameter as an axis: where a value lies on it, in which bin, and what stands at its ends."""

import math
from collections.abc import Sequence
from itertools import pairwise

from search_spaces.domains import Categorical, Domain, Float, Int, Value

_NUM_BINS = 4
_MAX_DIGITS = 17
_ROUNDING = 1e-9  # logarithms of 16, 64 and 256 put 64 a little below the middle


def place(domain: Domain, value: Value) -> float:
    """Where a value lies between the ends of what was searched, in [0, 1]: on the range's own scale, or in the choices' order."""
    if isinstance(domain, Categorical):
        return _index(domain, value) / max(1, len(domain.choices) - 1)
    assert isinstance(value, int | float)
    low, high, at = (math.log(x) if domain.log else x for x in (domain.low, domain.high, value))
    return (at - low) / (high - low) if high > low else 0.5


def said(value: Value) -> str:
    """A value in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def ticks(domain: Domain) -> tuple[tuple[float, str], ...]:
    """Places in [0, 1] and what stands there: each choice, or the ends of a range."""
    if isinstance(domain, Categorical):
        return tuple((place(domain, choice), said(choice)) for choice in domain.choices)
    if domain.high <= domain.low:
        return ((0.5, said(domain.low)),)
    low, high = _told_apart((domain.low, domain.high), digits=3)
    return (0.0, low), (1.0, high)


def bins(domain: Domain) -> tuple[str, ...]:
    """Names of the bins, no two alike: the library would draw those as one."""
    if isinstance(domain, Categorical):
        names = tuple(map(said, domain.choices))
        return names if len(set(names)) == len(names) else tuple(map(repr, domain.choices))
    if isinstance(domain, Int):
        lows = [_lowest_in(domain, number) for number in range(_num_bins(domain))]
        return tuple(f"{low} to {end - 1}" if end - 1 > low else str(low) for low, end in pairwise([*lows, domain.high + 1]))
    edges = _told_apart(_edges(domain), digits=2)
    return tuple(f"{low} to {high}" for low, high in pairwise(edges)) or (edges[0],)


def bin_of(domain: Domain, value: Value) -> int:
    """Which of the bins holds a value."""
    if isinstance(domain, Categorical):
        return _index(domain, value)
    if domain.high <= domain.low:
        return 0
    num_bins = _num_bins(domain)
    if isinstance(domain, Int) and domain.high - domain.low < num_bins:
        assert isinstance(value, int | float)
        return int(value) - domain.low
    return min(int(place(domain, value) * num_bins + _ROUNDING), num_bins - 1)


def _told_apart(values: Sequence[float], digits: int) -> Sequence[str]:
    """Different numbers in the fewest digits, not under so many, in which they differ; integers whole."""
    if all(isinstance(value, int) for value in values):
        return [str(value) for value in values]
    tries = ([f"{value:.{number}g}" for value in values] for number in range(digits, _MAX_DIGITS))
    return next((names for names in tries if len(set(names)) == len(names)), [f"{value:.{_MAX_DIGITS}g}" for value in values])


def _edges(domain: Float | Int) -> Sequence[float]:
    """Where its bins meet, and its ends."""
    return [float(edge) for edge in Float(domain.low, domain.high, domain.log).grid(_num_bins(domain) + 1)]


def _num_bins(domain: Float | Int) -> int:
    """Of few integers each has its own, so that none is empty by construction."""
    return min(_NUM_BINS, domain.high - domain.low + 1) if isinstance(domain, Int) else _NUM_BINS


def _lowest_in(domain: Int, number: int) -> int:
    """The lowest integer of a bin."""
    if number == 0:
        return domain.low
    near = range(max(domain.low, int(_edges(domain)[number]) - 1), domain.high + 1)
    return next(value for value in near if bin_of(domain, value) >= number)


def _index(domain: Categorical, value: Value) -> int:
    return next(i for i, choice in enumerate(domain.choices) if type(choice) is type(value) and choice == value)
