"""What a search was planned to take, beside what it took: computed from the ledger alone, to be drawn elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.plan import DISK, MEMORY, PLAN, Plan
from tuner.plan_simulation import Span
from tuner.records import TrialRecord, report_seconds, searched
from tuner.stretches import seconds_at_work


@dataclass(frozen=True)
class PlannedFact:
    """One figure.

    Attributes:
        name: what it is, in words.
        unit: `seconds`, `hours`, `bytes` or `trials`.
        planned: with its range.
        fact: what happened; None where nothing tells it, or has not happened yet.
        is_final: whether the search has ended, with as many trials as were planned.
    """

    name: str
    unit: str
    planned: Span
    fact: float | None
    is_final: bool = True

    @property
    def is_within(self) -> bool | None:
        """Whether what happened lies in the range; None where nothing is known of it, or more is to come or came than planned."""
        return None if self.fact is None or not self.is_final else self.planned.low <= self.fact <= self.planned.high


def plan_beside_fact(plan: Plan, records: Sequence[TrialRecord], header: Mapping[str, Any]) -> tuple[PlannedFact, ...]:
    """Wall clock, hours of workers, peak disk, memory of a trial, trials at each rung and with their full budget.

    Hours of workers at work are those of training and scoring; the plan's hold writing of checkpoints and the trials' beginnings
    as well, a hundredth or two where reports take minutes.  Where trials are stored away from the search's folder nothing tells
    how much lay there.

    Args:
        plan: that was made before the search (`plan_in`).
        records: all trials of the search.
        header: of its ledger.
    """
    scale = plan.gpus_per_trial or 1.0
    busy = sum(report_seconds(report) for record in records for report in record.reports)
    memory = [float(report[MEMORY]) for record in records for report in record.reports if MEMORY in report]
    is_stored = header.get("settings", {}).get("storage") is not None
    disk = None if is_stored else header.get(DISK)
    facts = (
        PlannedFact("wall clock", "seconds", plan.wall_seconds, seconds_at_work(header, records)),
        PlannedFact(f"{plan.unit}-hours at work", "hours", plan.busy_hours, busy * scale / 3600),
        PlannedFact("peak disk", "bytes", plan.disk_bytes, None if disk is None else float(disk)),
        PlannedFact("memory of a trial", "bytes", plan.memory_bytes, max(memory, default=None)),
        *_at_rungs(plan, searched(records)),
        PlannedFact("full budget", "trials", plan.complete, float(sum(r.state == "complete" for r in searched(records)))),
    )
    return tuple(replace(fact, is_final=is_as_planned(plan, records, header)) for fact in facts)


def is_as_planned(plan: Plan, records: Sequence[TrialRecord], header: Mapping[str, Any]) -> bool:
    """Whether the search has ended, with as many trials as the plan was made for: only then facts are what it spoke of."""
    return header.get("ended") == "complete" and len(searched(records)) == plan.trials


def num_ended(records: Sequence[TrialRecord]) -> int:
    """Trials of the search that have ended."""
    return sum(record.state in ("complete", "stopped", "failed") for record in searched(records))


def _at_rungs(plan: Plan, records: Sequence[TrialRecord]) -> list[PlannedFact]:
    """Trials that were compared there; one that was drawn to run on is compared no more."""
    out = []
    for rung in plan.rungs:
        reached = sum(len(r.reports) >= rung.report and (r.audited is None or rung.report <= r.audited) for r in records)
        went_on = sum(rung.report in record.passed_rungs for record in records)
        out.append(PlannedFact(f"reach report {rung.report}", "trials", rung.reached, float(reached)))
        out.append(PlannedFact(f"go on after report {rung.report}", "trials", rung.went_on, float(went_on)))
    return out


def plan_in(header: Mapping[str, Any]) -> Plan | None:
    """The plan that stands in a ledger; None where there is none.

    Raises:
        ValueError: it cannot be read.
    """
    return Plan.parse(header[PLAN]) if header.get(PLAN) is not None else None
