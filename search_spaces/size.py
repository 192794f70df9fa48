"""How large a space is: its combinations of choices, counted without going through them."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from search_spaces.domains import Categorical, Domain, Float, Int, Value
from search_spaces.space import Space, is_active
from trainables.config import TrialConfig


def num_combinations(space: Space, base: TrialConfig) -> int:
    """Different points of the space, a range of real numbers counted as one value, a range of whole numbers as each of them.

    Args:
        space: with conditions, which say which dimensions a combination has.
        base: the config under it.
    """
    dimensions = space.dimensions
    later = [{path for d in dimensions[place:] for path in d.when} for place in range(len(dimensions) + 1)]
    tree = base.to_tree()

    @cache
    def count(place: int, known: frozenset[tuple[str, Value]]) -> int:
        if place == len(dimensions):
            return 1
        dimension, point = dimensions[place], dict(known)
        if not is_active(dimension, point, tree):
            return count(place + 1, _kept(point, later[place + 1]))
        if dimension.path not in later[place + 1]:
            return _num_values(dimension.domain) * count(place + 1, _kept(point, later[place + 1]))
        return sum(count(place + 1, _kept({**point, dimension.path: v}, later[place + 1])) for v in _values(dimension.domain))

    return count(0, frozenset())


def _kept(point: Mapping[str, Value], paths: set[str]) -> frozenset[tuple[str, Any]]:
    """What a later condition may ask for."""
    return frozenset((path, value) for path, value in point.items() if path in paths)


def _num_values(domain: Domain) -> int:
    if isinstance(domain, Float):
        return 1
    return len(domain.choices) if isinstance(domain, Categorical) else domain.high - domain.low + 1


def _values(domain: Domain) -> tuple[Value, ...]:
    """Of a domain that a condition names; a range of real numbers is taken to be its lower end."""
    if isinstance(domain, Int):
        return tuple(range(domain.low, domain.high + 1))
    return domain.grid(1)
