"""A search as a simulation of discrete events: workers take trials in turn, each report is judged by the very rungs of a search.

Nothing is drawn here but which course a trial takes, from a generator that is given.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tuner.rungs import Rungs

REPLICATES, LEAST_REPLICATES = 40, 3
_MOST_TRIALS = 4_000
"""Trials that are simulated for one number of workers, over all replicates, unless the least replicates need more."""
_LOW, _HIGH = 10, 90


@dataclass(frozen=True)
class Course:
    """A trial as it would go with its full budget.

    Attributes:
        begin_seconds: until its first step, once a trial.
        report_seconds: of each report: training, scoring, checkpoint.
        scores: of each report.
        number: of the trial.
        reports_done: that stand in the ledger already.
        is_audited: it would have been stopped, and runs on (`tuner.audit`).
    """

    begin_seconds: float
    report_seconds: tuple[float, ...]
    scores: tuple[float, ...]
    number: int = 0
    reports_done: int = 0
    is_audited: bool = False

    @property
    def seconds(self) -> float:
        """Of all that is left of it."""
        return self.begin_seconds + sum(self.report_seconds[self.reports_done :])


@dataclass(frozen=True)
class Overhead:
    """What a search takes beside its trials, in seconds.

    Attributes:
        start: from the command to the first trial handed out.
        worker: of each worker until it can begin its first trial.
        trial: between two trials of a worker.
        end: from the last report to the exit.
    """

    start: float = 0.0
    worker: float = 0.0
    trial: float = 0.0
    end: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a simulated search came to.

    Attributes:
        wall_seconds: from the command to its exit.
        busy_seconds: that workers spend on trials, summed.
        held_seconds: the wall clock times the workers that have something to do at all: what is paid for.
        rungs: report, trials that reached it, trials that went on; a rung each.
        num_complete: trials with their full budget, without those after the search.
        num_unfinished: trials that the time budget cut off.
        after_seconds: of the wall clock, for the trials after the search.
    """

    wall_seconds: float
    busy_seconds: float
    held_seconds: float
    rungs: tuple[tuple[int, int, int], ...]
    num_complete: int
    num_unfinished: int = 0
    after_seconds: float = 0.0


class _Clock:
    """Workers, what they are at, and until when."""

    def __init__(self, workers: int, overhead: Overhead, until: float) -> None:
        self.overhead, self.until = overhead, until
        self.events: list[tuple[float, int, int, Course | None]] = [(0.0, worker, 0, None) for worker in range(workers)]
        self.fresh = set(range(workers))
        self.now = self.busy = 0.0

    def hand_out(self, worker: int, course: Course) -> None:
        """A worker begins a trial."""
        wait = self.overhead.worker if worker in self.fresh else self.overhead.trial
        self.fresh.discard(worker)
        self.go_on(worker, course, course.reports_done, wait=wait, begin=course.begin_seconds)

    def go_on(self, worker: int, course: Course, reports: int, *, wait: float = 0.0, begin: float = 0.0) -> None:
        """A worker trains for the report after the first `reports` ones."""
        seconds = begin + course.report_seconds[reports]
        self.busy += min(seconds, max(0.0, self.until - self.now - wait))
        heapq.heappush(self.events, (self.now + wait + seconds, worker, reports + 1, course))


def simulate(
    courses: Sequence[Course],
    *,
    workers: int,
    rungs: Rungs,
    overhead: Overhead = Overhead(),
    num_full_trials_after: int = 0,
    time_budget_seconds: float | None = None,
    runs_on: Callable[[int], bool] = lambda _: False,
) -> Outcome:
    """Runs a search over some courses, in their order.

    Args:
        courses: of the trials that are still to run.
        workers: trials at once, >= 1.
        rungs: as they stand before; changed.
        overhead: of the search.
        num_full_trials_after: trials with their full budget, which nothing stops, that begin once all the others have ended; they
            take the courses of those that came to their end, in turn.
        time_budget_seconds: of all of these; None: as long as they take.
        runs_on: whether the trial that is stopped as the n-th, from 0, runs on all the same (`tuner.audit.is_audited`).
    """
    assert workers >= 1, f"a search has a worker, but got {workers}"
    until = math.inf if time_budget_seconds is None else time_budget_seconds
    clock = _Clock(workers, overhead, until)
    ended, complete, num_stopped = _run(clock, deque(courses), rungs, runs_on)
    after = complete or list(courses)
    full = [Course(c.begin_seconds, c.report_seconds, c.scores, number) for number, c in enumerate(after)]
    later = _Clock(workers, Overhead(worker=overhead.trial, trial=overhead.trial), until - ended)
    num_after = num_full_trials_after if full else 0
    ended_after, *_ = _run(later, deque(full[number % len(full)] for number in range(num_after)), Rungs((), 2), runs_on)
    wall = overhead.start + ended + ended_after + overhead.end
    used = min(workers, max(len(courses), num_after))
    return Outcome(
        wall_seconds=wall,
        busy_seconds=clock.busy + later.busy,
        held_seconds=wall * used,
        rungs=tuple((report, reached, went_on) for report, reached, went_on, _ in rungs.table()),
        num_complete=len(complete),
        num_unfinished=len(courses) - len(complete) - num_stopped,
        after_seconds=ended_after,
    )


def _run(clock: _Clock, waiting: deque[Course], rungs: Rungs, runs_on: Callable[[int], bool]) -> tuple[float, list[Course], int]:
    """When the last trial ended, those with their full budget, and how many were stopped; after `until` nothing happens."""
    ended, complete, num_stopped = 0.0, list[Course](), 0
    audited = {course.number for course in waiting if course.is_audited}
    num_judged = 0  # that were stopped, or would have been
    while clock.events:
        clock.now, worker, reports, course = heapq.heappop(clock.events)
        if clock.now > clock.until:
            return clock.until, complete, num_stopped
        if course is not None:
            ended = clock.now
            if reports == len(course.report_seconds):
                complete.append(course)
            else:
                is_over = course.number not in audited and not rungs.goes_on(course.number, reports, course.scores[reports - 1])
                if is_over and runs_on(num_judged):
                    audited.add(course.number)
                num_judged += is_over
                if not is_over or course.number in audited:
                    clock.go_on(worker, course, reports)
                    continue
                num_stopped += 1
        if waiting:
            clock.hand_out(worker, waiting.popleft())
    return ended, complete, num_stopped


@dataclass(frozen=True)
class Span:
    """A figure with its range: the 10th percentile, the median and the 90th over some simulations; or lowest, middle, highest."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Span":
        """Of some simulations' figures."""
        low, middle, high = np.percentile(np.asarray(values, dtype=float), (_LOW, 50, _HIGH))
        return cls(float(low), float(middle), float(high))

    def times(self, factor: float) -> "Span":
        """All three multiplied."""
        return Span(self.low * factor, self.middle * factor, self.high * factor)


def replicate(
    draw: Callable[[np.random.Generator], Sequence[Course]],
    new_rungs: Callable[[], Rungs],
    *,
    workers: Sequence[int],
    overhead: Overhead,
    seed: int,
    num_full_trials_after: int = 0,
    time_budget_seconds: float | None = None,
    runs_on: Callable[[int], bool] = lambda _: False,
) -> dict[int, list[Outcome]]:
    """Numbers of workers -> what some searches came to; the same courses for each number of workers.

    Args:
        draw: courses of a search, by a generator.
        new_rungs: as they stand before the search.
        workers: numbers of trials at once.
        overhead: of a search.
        seed: of the generators, one a replicate.
        num_full_trials_after: see `simulate`.
        time_budget_seconds: likewise.
        runs_on: likewise.
    """
    out: dict[int, list[Outcome]] = {number: [] for number in workers}
    number, num_replicates = 0, 1
    while number < num_replicates:
        courses = draw(np.random.default_rng(np.random.SeedSequence((seed, number))))
        num_replicates = max(LEAST_REPLICATES, min(REPLICATES, _MOST_TRIALS // max(1, len(courses))))
        for count, outcomes in out.items():
            outcomes.append(
                simulate(
                    courses,
                    workers=count,
                    rungs=new_rungs(),
                    overhead=overhead,
                    num_full_trials_after=num_full_trials_after,
                    time_budget_seconds=time_budget_seconds,
                    runs_on=runs_on,
                )
            )
        number += 1
    return out
