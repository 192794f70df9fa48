"""What one value may be: a range of numbers or a list of choices.

Domains are data: they know their bounds, whether they hold a value and which points a grid takes; drawing is not their business.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Value = float | int | str | bool


@dataclass(frozen=True)
class Float:
    """Real numbers from `low` to `high`, both included; `log` spreads them evenly in their logarithm.

    Raises:
        ValueError: low <= high does not hold, a bound is not finite, or `log` with low <= 0.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log)

    def contains(self, value: Any) -> bool:
        """True where `value` is a number in the range."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def grid(self, num_points: int) -> tuple[Value, ...]:
        """`num_points` evenly spaced values, both ends included; one where the range is a point."""
        return tuple(dict.fromkeys(_spaced(self.low, self.high, self.log, num_points)))


@dataclass(frozen=True)
class Int:
    """Whole numbers from `low` to `high`, both included; `log` spreads them evenly in their logarithm.

    Raises:
        ValueError: low <= high does not hold, or `log` with low <= 0.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log)

    def contains(self, value: Any) -> bool:
        """True where `value` is a whole number in the range."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def grid(self, num_points: int) -> tuple[Value, ...]:
        """At most `num_points` evenly spaced values, both ends included."""
        return tuple(dict.fromkeys(round(x) for x in _spaced(self.low, self.high, self.log, num_points)))


@dataclass(frozen=True)
class Categorical:
    """One of some values without order; once a search has begun its choices are fixed.

    Raises:
        ValueError: no choice, or one that stands twice.
    """

    choices: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("at least one choice must be given, but got none")
        if len({(type(c), c) for c in self.choices}) != len(self.choices):
            raise ValueError(f"each choice may stand once, but got {list(self.choices)}")

    def contains(self, value: Any) -> bool:
        """True where `value` is one of the choices."""
        return any(type(value) is type(choice) and value == choice for choice in self.choices)

    def grid(self, num_points: int) -> tuple[Value, ...]:  # noqa: ARG002 - every domain takes the same arguments
        """All choices, however many points are asked for."""
        return self.choices


Domain = Float | Int | Categorical


def _check_range(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"bounds must be finite, but got low={low}, high={high}")
    if low > high:
        raise ValueError(f"low <= high must hold, but got low={low}, high={high}")
    if log and low <= 0:
        raise ValueError(f"low > 0 must hold where log is on, but got low={low}")


def _spaced(low: float, high: float, log: bool, num_points: int) -> Sequence[float]:
    if num_points < 1:
        raise ValueError(f"num_points >= 1 must hold, but got {num_points}")
    if num_points == 1 or low == high:
        return [low]
    inner = [_between(low, high, log, i / (num_points - 1)) for i in range(1, num_points - 1)]
    return [low, *inner, high]


def _between(low: float, high: float, log: bool, share: float) -> float:
    """The point at `share` of the way; neither rounding nor a range wider than the largest float leads out of it."""
    ends = (math.log(low), math.log(high)) if log else (low, high)
    value = (1 - share) * ends[0] + share * ends[1]
    return min(max(math.exp(value) if log else value, low), high)
