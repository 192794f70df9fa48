"""How the tasks trade: which trials nobody betters in every task, and whether what is good for one is good for another."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from reports.beside_paper import rank_correlation
from trainables.tasks import TaskSet
from tuner.records import TrialRecord, searched


@dataclass(frozen=True)
class TaskPoint:
    """A trial with its full budget.

    Attributes:
        trial: its number.
        metrics: of each task, in the tasks' order.
        is_best: no other is at least as good in every task and better in one.
    """

    trial: int
    metrics: tuple[float, ...]
    is_best: bool


@dataclass(frozen=True)
class Trade:
    """Two tasks.

    Attributes:
        first, second: their places among the tasks.
        correlation: Spearman's, of their metrics over the trials, in [-1, 1]; below 0 they trade; None under three trials.
    """

    first: int
    second: int
    correlation: float | None


@dataclass(frozen=True)
class Front:
    """All trials with their full budget that train every task, by task.

    Attributes:
        tasks: titles, in their order.
        points: the trials, by number.
        trades: each two tasks.
    """

    tasks: tuple[str, ...]
    points: tuple[TaskPoint, ...]
    trades: tuple[Trade, ...]

    @property
    def num_best(self) -> int:
        """Trials on the front."""
        return sum(point.is_best for point in self.points)


def front(records: Sequence[TrialRecord], tasks: TaskSet) -> Front:
    """The Pareto front of the trials of the search that had their full budget and train every task.

    Args:
        records: all trials.
        tasks: that they are about.
    """
    keys = [task.metric_key for task in tasks.tasks]
    reports = {r.number: r.best_report for r in searched(records) if r.state == "complete" and r.trains_every_task}
    found = {trial: tuple(float(report[key]) for key in keys) for trial, report in reports.items() if report}
    values = list(found.values())
    points = tuple(TaskPoint(trial, own, not any(_betters(other, own) for other in values)) for trial, own in found.items())
    pairs = itertools.combinations(range(len(keys)), 2)
    trades = tuple(Trade(a, b, rank_correlation([(own[a], own[b]) for own in values])) for a, b in pairs)
    return Front(tuple(task.title for task in tasks.tasks), points, trades)


def _betters(other: Sequence[float], own: Sequence[float]) -> bool:
    return all(a >= b for a, b in zip(other, own, strict=True)) and any(a > b for a, b in zip(other, own, strict=True))
