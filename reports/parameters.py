"""What the parameters of a search have to do with its scores, as plain tuples.

Trials are compared at one budget: at the last report that enough of them have.  Under ASHA few have the last one of all, and
they were chosen by their scores; at a rung stand all that came to it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.scales import bin_of, bins, place, ticks
from search_spaces.domains import Categorical, Domain, Float, Int, Value
from search_spaces.space import Assignment, Space
from tuner.records import TrialRecord, searched

ENOUGH, LEAST = 10, 4
NOT_USED = -0.12
"""Where a line crosses an axis whose parameter plays no part in its trial."""


@dataclass(frozen=True)
class Point:
    """A trial at the budget at which all are compared: its score there, how it ended, what the sampler chose."""

    trial: int
    score: float
    ending: str
    assignment: Assignment


@dataclass(frozen=True)
class Evidence:
    """What is known of the parameters.

    Attributes:
        report: at which trials are compared; None where fewer than `LEAST` have any one.
        points: a trial each.
    """

    report: int | None
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Cell:
    """A field of a grid: mean score of the trials in it, and how many; None and 0 where none is."""

    mean: float | None
    count: int


@dataclass(frozen=True)
class Interaction:
    """Two parameters together.

    Attributes:
        first, second: config paths.
        first_bins, second_bins: names of the rows and of the columns.
        cells: by row and column.
        strength: share of the variance between the cells that no sum of a row's and a column's effect explains, in [0, 1]; None
            where the cells do not tell: they are no more than such a sum has figures of its own.
    """

    first: str
    second: str
    first_bins: tuple[str, ...]
    second_bins: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    strength: float | None


@dataclass(frozen=True)
class Axis:
    """One axis of the parallel coordinates.

    Attributes:
        path: of the parameter.
        ticks: place in [0, 1] and what stands there.
        places: of each trial, in [0, 1]; `NOT_USED` where it plays no part.
    """

    path: str
    ticks: tuple[tuple[float, str], ...]
    places: tuple[float, ...]


@dataclass(frozen=True)
class Slice:
    """One parameter and the scores.

    Attributes:
        path: of the parameter.
        domain: what was searched.
        points: trial, value, score and ending of each that it plays a part in.
    """

    path: str
    domain: Domain
    points: tuple[tuple[int, Value, float, str], ...]


def evidence(records: Sequence[TrialRecord]) -> Evidence:
    """The trials of the search with the score that each had at the last report that at least `ENOUGH` have.

    Where none has so many: at the report that most have, if those are `LEAST`.
    """
    by_report: dict[int, list[Point]] = {}
    for record in searched(records):
        for report in record.reports if record.assignment else ():
            if "report" in report and math.isfinite(report["score"]):
                point = Point(record.number, float(report["score"]), record.state, record.assignment)
                by_report.setdefault(int(report["report"]), []).append(point)
    enough = [report for report, points in by_report.items() if len(points) >= ENOUGH]
    most = max(by_report, key=lambda report: (len(by_report[report]), report), default=None)
    chosen = max(enough, default=most)
    if chosen is None or len(by_report[chosen]) < LEAST:
        return Evidence(None, ())
    return Evidence(chosen, tuple(by_report[chosen]))


def domains(paths: Sequence[str], space: Space | None, points: Sequence[Point]) -> dict[str, Domain]:
    """What was searched of each path.

    A path with several ranges, each under its condition, has the range that spans them all.  Values that lie outside (the range
    was moved since) widen it; where there is no space, they alone make it.
    """
    out = {}
    for path in paths:
        values = [point.assignment[path] for point in points if path in point.assignment]
        own = [dimension.domain for dimension in (space.dimensions if space else ()) if dimension.path == path]
        out[path] = _spanning(own, values)
    return out


def interaction(points: Sequence[Point], first: str, second: str, searched_: Mapping[str, Domain]) -> Interaction:
    """The mean score over a grid of two parameters, choices and few integers as they are, and ranges in four equal parts.

    Args:
        points: of the trials; those in which one of the two plays no part are left out.
        first: path of the rows.
        second: path of the columns.
        searched_: what was searched of both.
    """
    rows, columns = searched_[first], searched_[second]
    names, other_names = bins(rows), bins(columns)
    held: dict[tuple[int, int], list[float]] = {}
    for point in points:
        if first in point.assignment and second in point.assignment:
            key = bin_of(rows, point.assignment[first]), bin_of(columns, point.assignment[second])
            held.setdefault(key, []).append(point.score)
    grid = [[held.get((row, column), []) for column in range(len(other_names))] for row in range(len(names))]
    cells = tuple(tuple(Cell(float(np.mean(s)) if s else None, len(s)) for s in row) for row in grid)
    return Interaction(first, second, names, other_names, cells, _strength(held))


def axes(points: Sequence[Point], paths: Sequence[str], searched_: Mapping[str, Domain]) -> tuple[Axis, ...]:
    """An axis a path, each from the lowest value that was searched to the highest, on its own scale."""
    out = []
    for path in paths:
        domain = searched_[path]
        places = (place(domain, p.assignment[path]) if path in p.assignment else NOT_USED for p in points)
        out.append(Axis(path, ticks(domain), tuple(places)))
    return tuple(out)


def slices(points: Sequence[Point], paths: Sequence[str], searched_: Mapping[str, Domain]) -> tuple[Slice, ...]:
    """A slice a path."""
    return tuple(
        Slice(
            path,
            searched_[path],
            tuple((p.trial, p.assignment[path], p.score, p.ending) for p in points if path in p.assignment),
        )
        for path in paths
    )


def _spanning(own: Sequence[Domain], values: Sequence[Value]) -> Domain:
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    ranges = [domain for domain in own if isinstance(domain, Float | Int)]
    if ranges or (not own and numbers and len(numbers) == len(values)):
        low, high = (pick([*numbers, *(float(getattr(d, end)) for d in ranges)]) for pick, end in ((min, "low"), (max, "high")))
        log = any(domain.log for domain in ranges) and low > 0
        whole = all(isinstance(domain, Int) for domain in ranges) and all(n.is_integer() for n in (*numbers, low, high))
        return Int(int(low), int(high), log) if whole else Float(low, high, log)
    choices = [choice for domain in own if isinstance(domain, Categorical) for choice in domain.choices]
    by_kind = {(type(choice), choice): choice for choice in (*choices, *values)}
    return Categorical(tuple(by_kind.values()))


def _strength(held: Mapping[tuple[int, int], Sequence[float]]) -> float | None:
    """Of a two-way table with unequal counts: cells weigh as many trials as they hold."""
    rows, columns = (sorted({key[axis] for key in held}) for axis in (0, 1))
    if not held or len(held) <= len(rows) + len(columns) - 1:
        return None
    means, weights = np.array([np.mean(s) for s in held.values()]), np.array([len(s) for s in held.values()], dtype=float)
    design = np.array([[*(row == r for r in rows), *(column == c for c in columns)] for row, column in held], dtype=float)
    root = np.sqrt(weights)
    fitted = design @ np.linalg.lstsq(design * root[:, None], means * root, rcond=None)[0]
    total = float(weights @ (means - np.average(means, weights=weights)) ** 2)
    return float(weights @ (means - fitted) ** 2) / total if total > 0 else None
