"""What a search is expected to take: plain values, made before anything starts, kept in the ledger beside what then happened."""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from trainables.timed import TimedTrial
from tuner.plan_simulation import Span

PLAN = "plan"
"""The header's entry that holds a plan."""
MEMORY, DISK = "memory_bytes", "peak_disk_bytes"
"""A report's entry: most memory that its worker had held; the header's: most that the search's folder was seen to hold."""
_CLOSED = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CLOSED)
class PlannedDimension:
    """One thing that varies: its name, its values, and under what condition, in words (empty: always)."""

    name: str
    values: str
    condition: str


@dataclass(frozen=True, config=_CLOSED)
class PlannedSpace:
    """What varies.

    Attributes:
        name: of the space, or of the study.
        dimensions: in their order.
        num_ranges: those of real numbers.
        num_combinations: of all else, as text: there may be more than a float holds.
    """

    name: str
    dimensions: tuple[PlannedDimension, ...]
    num_ranges: int
    num_combinations: str


@dataclass(frozen=True, config=_CLOSED)
class PlannedTiming:
    """A trial that was timed: its settings that vary, what it takes, and seconds with its full budget."""

    assignment: Mapping[str, Any]
    timed: TimedTrial
    full_seconds: float


@dataclass(frozen=True, config=_CLOSED)
class PlannedRung:
    """A rung: its report, that report's budget in training examples, trials that reach it, and that go on."""

    report: int
    budget: int
    reached: Span
    went_on: Span


@dataclass(frozen=True, config=_CLOSED)
class PlannedNode:
    """A machine: its name, trials at once on it, its memory (0: not known) and what of it others than trials take, in bytes."""

    host: str
    slots: int
    memory_bytes: int
    other_bytes: int = 0


@dataclass(frozen=True, config=_CLOSED)
class ForWorkers:
    """The same search with so many trials at once.

    Attributes:
        workers: trials at once.
        wall_seconds: from the command to its exit.
        held_hours: hours of workers that are paid for: the wall clock of as many as have something to do.
        cost: at the price, in its money; None without a price.
    """

    workers: int
    wall_seconds: Span
    held_hours: Span
    cost: Span | None


@dataclass(frozen=True, config=_CLOSED)
class Plan:
    """What a search is expected to take.

    Attributes:
        made: when, ISO 8601 with its zone.
        space: what varies.
        searcher, early_stopping, reduction_factor, num_reports: of the search.
        trials: in all.
        trials_to_go: that have not ended yet.
        slots: trials at once.
        gpus_per_trial: 0: trials run on CPUs, and a worker is what is paid for; else a GPU is.
        price: of an hour of a worker or GPU; None: not asked for.
        budgets: training examples of the shortest full trial and the longest.
        full_trial_seconds: of a trial with its full budget: the cheapest corner, the mean of the space, the dearest corner.
        rungs: with the trials that are expected there.
        complete: trials with their full budget.
        trainings_to_confirm: of the best and the reference, after the search, each with its full budget: the middle of the
            simulated searches, where they are fewer if fewer trials than are to be confirmed come to their end.
        confirm_seconds: of the wall clock, that these take.
        wall_seconds: from the command to its exit.
        busy_hours: that workers spend on trials, summed.
        held_hours, cost: see `ForWorkers`.
        wall_bounds: wall clock if every trial were as the cheapest corner, and as the dearest.
        disk_bytes: peak: between two reports of trials like the smallest timed; while one like the middle writes; at most.
        memory_bytes: of a trial's process: of the smallest of those timed, as it begins; of the middle one; of the largest, in a
            worker that has run many.
        device_memory_bytes: of a GPU's memory: lowest, middle and highest of those timed; None without one.
        nodes: that trials run on.
        workers: the same search with 1, 2, 4, ... workers.
        timed: names of trials that were timed -> what they take.
        failed: names of those that could not be timed -> why.
        probe_seconds, probe_processes: that the timing took, and trials that ran at once meanwhile.
        curves: where the simulation has its learning curves from, in words.
        assumptions: what was taken for granted, a sentence each.
        time_budget_seconds: after which the search stops; None: it does not.
    """

    made: str
    space: PlannedSpace
    searcher: str
    early_stopping: str
    reduction_factor: int
    num_reports: int
    trials: int
    trials_to_go: int
    slots: int
    gpus_per_trial: float
    price: float | None
    budgets: tuple[int, int]
    full_trial_seconds: Span
    rungs: tuple[PlannedRung, ...]
    complete: Span
    wall_seconds: Span
    busy_hours: Span
    held_hours: Span
    cost: Span | None
    wall_bounds: tuple[float, float]
    disk_bytes: Span
    memory_bytes: Span
    device_memory_bytes: Span | None
    nodes: tuple[PlannedNode, ...]
    workers: tuple[ForWorkers, ...]
    timed: Mapping[str, PlannedTiming]
    failed: Mapping[str, str]
    probe_seconds: float
    probe_processes: int
    curves: str
    assumptions: tuple[str, ...]
    trainings_to_confirm: int = 0
    confirm_seconds: Span = Span(0.0, 0.0, 0.0)
    time_budget_seconds: float | None = None

    @property
    def unit(self) -> str:
        """What is counted in hours and paid for."""
        return "GPU" if self.gpus_per_trial else "worker"

    def to_tree(self) -> dict[str, Any]:
        """As plain values; `parse` gives it back."""
        tree: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return tree

    @classmethod
    def parse(cls, tree: Any) -> "Plan":
        """The plan that stands in a ledger.

        Raises:
            ValueError: it is none, or one of another version.
        """
        try:
            return _ADAPTER.validate_python(tree)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"plan: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


_ADAPTER = TypeAdapter(Plan)
