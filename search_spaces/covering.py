"""Pairwise covering: few points in which every two values of two dimensions stand together once.

Most rules of a config bind one value or two, and pairs of values are covered by a few dozen points where there are
thousands of pairs (Cohen et al. 1997, "The AETG system", https://doi.org/10.1109/32.605761; here greedy, without
its random tries).
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from search_spaces.domains import Domain, Value

Suggest = Callable[[str, Domain], Value]
Choice = tuple[str, int]
"""A dimension's name and the index of one of its values."""


def covering_points(
    values: Mapping[str, Sequence[Value]], needed: Mapping[str, Mapping[str, Value]], draw: Callable[[Suggest], Any]
) -> Iterator[Any]:
    """Points that cover all pairs of values, as far as conditions let them stand together.

    Args:
        values: of each dimension that are to be covered, by its name.
        needed: for each dimension the values of others under which it plays a part.
        draw: makes a point; asks the function that it is given for the value of each dimension that plays a part.
    """
    choices = [(name, index) for name, inner in values.items() for index in range(len(inner))]
    pairs = itertools.combinations_with_replacement(choices, 2)
    uncovered = {frozenset(pair): pair for pair in pairs if pair[0][0] != pair[1][0] or pair[0] == pair[1]}
    while uncovered:
        pair = next(iter(uncovered.values()))
        forced = {**needed[pair[0][0]], **needed[pair[1][0]], **{name: values[name][index] for name, index in pair}}
        chosen: list[Choice] = []
        yield draw(_chooser(values, forced, chosen, uncovered))
        for taken in itertools.combinations_with_replacement(chosen, 2):
            uncovered.pop(frozenset(taken), None)
        uncovered.pop(frozenset(pair), None)  # where their conditions keep them apart, they never met


def _chooser(
    values: Mapping[str, Sequence[Value]], forced: Mapping[str, Value], chosen: list[Choice], uncovered: Mapping[Any, Any]
) -> Suggest:
    """Suggests what is forced, else the value that makes the most new pairs with what was chosen before; notes it in `chosen`."""

    def num_new(choice: Choice) -> int:
        return sum(frozenset({choice, other}) in uncovered for other in [choice, *chosen])

    def choose(name: str, _domain: Domain) -> Value:
        if name in forced:
            chosen.extend(
                (name, index)
                for index, value in enumerate(values[name])
                if (type(value), value) == (type(forced[name]), forced[name])
            )
            return forced[name]
        best = max(((name, index) for index in range(len(values[name]))), key=num_new)
        chosen.append(best)
        return values[name][best[1]]

    return choose
