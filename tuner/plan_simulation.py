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
class Afterwards:
    """What follows once all trials of a search have ended, and is not stopped early.

    Attributes:
        courses: of the trials that follow, by those of the search that had their full budget.
        seconds_kept: of the time budget, by the seconds of a full trial, the workers, and the trials that have their full budget
            or may still come to it: once no more than these are left, no trial of the search is begun, as by `tuner.referee`;
            None: trials are begun until the time is up.
        reports_before: seconds of each report that stands in the ledger already: with those to come they tell what a full trial
            takes.
    """

    courses: Callable[[Sequence[Course]], Sequence[Course]] = lambda _complete: ()
    seconds_kept: Callable[[float, int, int], float] | None = None
    reports_before: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a simulated search came to.

    Attributes:
        wall_seconds: from the command to its exit.
        busy_seconds: that workers spend on trials, summed.
        held_seconds: the wall clock times the workers that have something to do at all: what is paid for.
        rungs: report, trials that reached it, trials that went on; a rung each.
        num_complete: trials with their full budget, without those after the search.
        num_unfinished: trials that the time budget cut off, or that were not begun for it.
        num_after: trials that follow the search.
        after_seconds: of the wall clock, for these.
    """

    wall_seconds: float
    busy_seconds: float
    held_seconds: float
    rungs: tuple[tuple[int, int, int], ...]
    num_complete: int
    num_unfinished: int = 0
    num_after: int = 0
    after_seconds: float = 0.0


class _Clock:
    """Workers, what they are at, and until when."""

    def __init__(self, workers: int, overhead: Overhead, until: float, fresh: set[int] | None = None) -> None:
        self.overhead, self.until = overhead, until
        self.events: list[tuple[float, int, int, Course | None]] = [(0.0, worker, 0, None) for worker in range(workers)]
        self.fresh = set(range(workers)) if fresh is None else fresh
        self.now = self.busy = 0.0

    @property
    def num_running(self) -> int:
        """Trials that workers are at."""
        return sum(course is not None for *_, course in self.events)

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
    afterwards: Afterwards = Afterwards(),
    time_budget_seconds: float | None = None,
    runs_on: Callable[[int], bool] = lambda _: False,
) -> Outcome:
    """Runs a search over some courses, in their order.

    Args:
        courses: of the trials that are still to run; those that were begun come first.
        workers: trials at once, >= 1.
        rungs: as they stand before; changed.
        overhead: of the search.
        afterwards: what follows once all of these have ended.
        time_budget_seconds: of all of it; None: as long as it takes.
        runs_on: whether the trial that is stopped as the n-th, from 0, runs on all the same (`tuner.audit.is_audited`).
    """
    assert workers >= 1, f"a search has a worker, but got {workers}"
    until = math.inf if time_budget_seconds is None else time_budget_seconds
    clock = _Clock(workers, overhead, until)
    ended, complete, num_stopped = _run(clock, deque(courses), rungs, runs_on, _Reserve(afterwards, workers))
    after = afterwards.courses(complete)
    later = _Clock(workers, overhead, until - ended, clock.fresh)
    ended_after, *_ = _run(later, deque(after), Rungs((), 2), runs_on, _Reserve(Afterwards(), workers))
    wall = overhead.start + ended + ended_after + overhead.end
    used = min(workers, max(len(courses), len(after)))
    return Outcome(
        wall_seconds=wall,
        busy_seconds=clock.busy + later.busy,
        held_seconds=wall * used,
        rungs=tuple((report, reached, went_on) for report, reached, went_on, _ in rungs.table()),
        num_complete=len(complete),
        num_unfinished=len(courses) - len(complete) - num_stopped,
        num_after=len(after),
        after_seconds=ended_after,
    )


class _Reserve:
    """What of the time budget is kept for the trials that follow the search."""

    def __init__(self, afterwards: Afterwards, workers: int) -> None:
        self._kept, self._workers = afterwards.seconds_kept, workers
        self._num_reports, self._seconds = len(afterwards.reports_before), sum(afterwards.reports_before)

    def hear(self, seconds: float) -> None:
        """Of one more report."""
        self._num_reports += 1
        self._seconds += seconds

    def forbids(self, course: Course, clock: _Clock, num_complete: int) -> bool:
        """Whether a trial of the search is not begun any more; never so before the first report."""
        if self._kept is None or not self._num_reports or course.reports_done:
            return False
        full = self._seconds / self._num_reports * len(course.report_seconds)
        return self._kept(full, self._workers, num_complete + clock.num_running) > clock.until - clock.now


def _run(
    clock: _Clock, waiting: deque[Course], rungs: Rungs, runs_on: Callable[[int], bool], reserve: _Reserve
) -> tuple[float, list[Course], int]:
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
            reserve.hear(course.report_seconds[reports - 1])
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
        if waiting and reserve.forbids(waiting[0], clock, len(complete)):
            waiting.clear()
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
    afterwards: Afterwards = Afterwards(),
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
        afterwards: see `simulate`.
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
                    afterwards=afterwards,
                    time_budget_seconds=time_budget_seconds,
                    runs_on=runs_on,
                )
            )
        number += 1
    return out
