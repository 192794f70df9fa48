"""How a search went, as plain tuples: each trial's curve, the best score against time and budget, conflicts of gradients."""

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tuner.records import TrialRecord, searched
from tuner.stretches import stretches

CONFLICT, CHANGE = "conflict_share", "gradient_change_"


@dataclass(frozen=True)
class Curve:
    """One trial's scores.

    Attributes:
        trial: its number.
        ending: its state: `complete`, `stopped`, `failed`, `interrupted` or `running`.
        budgets: training examples seen at each report, ascending.
        scores: at each of them.
    """

    trial: int
    ending: str
    budgets: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class BestPoint:
    """The best as it stood when a trial with its full budget ended and bettered it.

    Attributes:
        seconds: that drivers had been at work by then.
        examples: that all trials which had ended by then had seen.
        score: of the best.
        trial: its number.
    """

    seconds: float
    examples: int
    score: float
    trial: int


@dataclass(frozen=True)
class Progress:
    """The best score over a whole search.

    Attributes:
        points: a step each, ascending in time and score.
        seconds, examples: at the end of the last trial that has ended: so far the last step holds.
    """

    points: tuple[BestPoint, ...]
    seconds: float
    examples: int


@dataclass(frozen=True)
class ConflictCurve:
    """How much the tasks' gradients were in each other's way in one trial with PCGrad.

    Attributes:
        trial: its number.
        budgets: training examples at each report.
        shares: of the pairs of tasks whose gradients conflicted since the report before, in [0, 1].
        changes: task -> mean over the reports of how its loss's descent changed by the projection, in [-1, 0].
    """

    trial: int
    budgets: tuple[int, ...]
    shares: tuple[float, ...]
    changes: Mapping[str, float]


def curves(records: Sequence[TrialRecord]) -> tuple[Curve, ...]:
    """The curve of each trial of the search that has reported; scores that are no finite numbers are left out."""
    out = []
    for record in searched(records):
        points = [(int(r["budget"]), float(r["score"])) for r in record.reports if math.isfinite(r["score"])]
        if points:
            budgets, scores = zip(*points, strict=True)
            out.append(Curve(record.number, record.state, budgets, scores))
    return tuple(out)


def rung_budgets(records: Sequence[TrialRecord], rungs: Sequence[int]) -> tuple[int, ...]:
    """Training examples at which trials are compared, of each rung that some trial of the search has reached, ascending."""
    found = {int(r["budget"]) for record in searched(records) for r in record.reports if r.get("report") in rungs}
    return tuple(sorted(found))


def best_so_far(header: Mapping[str, Any], records: Sequence[TrialRecord]) -> Progress:
    """The best score of those with their full budget that train every task, after each trial of the search that ended.

    Args:
        header: of the ledger; it says when drivers were at work.  One that does not is older, and the clock then simply runs.
        records: all trials.
    """
    ended = sorted((r for r in searched(records) if r.ended is not None), key=lambda r: (r.ended, r.number))
    clock = _clock(header, records)
    best, examples, out = -math.inf, 0, []
    for record in ended:
        examples += record.budget_used
        if record.state == "complete" and record.trains_every_task and record.score is not None and record.score > best:
            best = record.score
            out.append(BestPoint(clock(record.ended), examples, best, record.number))
    return Progress(tuple(out), clock(ended[-1].ended) if ended else 0.0, examples)


def conflict_curves(records: Sequence[TrialRecord]) -> tuple[ConflictCurve, ...]:
    """Of each trial of the search that ran PCGrad what its reports say."""
    out = []
    for record in searched(records):
        told = [report for report in record.reports if CONFLICT in report and math.isfinite(report[CONFLICT])]
        if not told:
            continue
        keys = [key for key in told[0] if key.startswith(CHANGE)]
        changes = {key.removeprefix(CHANGE): fmean(float(report.get(key, 0.0)) for report in told) for key in keys}
        budgets, shares = (tuple(report[key] for report in told) for key in ("budget", CONFLICT))
        out.append(ConflictCurve(record.number, budgets, shares, changes))
    return tuple(out)


def thinned(curves_: Sequence[Curve], most: int) -> tuple[Curve, ...]:
    """At most so many curves, drawn evenly from best last score to worst, so that the best and the worst are among them."""
    if len(curves_) <= most:
        return tuple(curves_)
    ordered = sorted(curves_, key=lambda curve: (-curve.scores[-1], curve.trial))
    step = (len(ordered) - 1) / max(1, most - 1)
    chosen = {ordered[round(place * step)].trial for place in range(most)}
    return tuple(curve for curve in curves_ if curve.trial in chosen)


def _clock(header: Mapping[str, Any], records: Sequence[TrialRecord]) -> Any:
    """A function of a moment: seconds that drivers had been at work by then."""
    spans = stretches(header, records)
    starts = [record.started.astimezone() for record in records if record.started is not None]
    if not spans and starts:
        spans = [(min(starts), datetime.datetime.max.replace(tzinfo=datetime.UTC))]

    def seconds(moment: datetime.datetime) -> float:
        by_then = ((min(end, moment.astimezone()) - start).total_seconds() for start, end in spans)
        return sum(max(0.0, span) for span in by_then)

    return seconds
