"""Makes a plan: some trials are timed for well under a minute, then the search is simulated."""

import datetime
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from trainables.config import TrialConfig
from tuner.audit import is_audited
from tuner.plan import ForWorkers, Plan, PlannedNode, PlannedRung, PlannedTiming
from tuner.plan_corners import Drawn, draw_trials, to_be_timed
from tuner.plan_courses import Costs, as_taken_up, drawing, past_courses, unfinished_courses
from tuner.plan_probe import Probed, probe
from tuner.plan_simulation import Afterwards, Course, Outcome, Overhead, Span, replicate
from tuner.plan_trainings import confirmation_after
from tuner.plan_words import assumptions, cost_settings, describe_curves, describe_space
from tuner.records import TrialRecord, searched
from tuner.rungs import Rungs, rung_reports
from tuner.search_plan import SearchPlan

WORKERS = (1, 2, 4, 8, 16, 32, 64)
START_SECONDS, WORKER_SECONDS, TRIAL_SECONDS, END_SECONDS = 6.0, 3.0, 0.2, 8.0
"""Up to the first trial; of a worker's imports; between two trials; Ray's and the mirror's end (README, Figures)."""
RAY_BYTES = 100 * 2**20
"""What Ray Tune's import adds to a worker's memory, which the timed process does without."""
WHOLE_TRIAL, OLD_WORKER = 1.2, 1.5
"""What a trial holds at its end, and at most in a worker that has run a dozen before, beside a step of its largest batch: the
heap falls into pieces of many sizes, as batches are of many lengths (docs/decisions/0028 has what was measured)."""
DRIVER_BYTES = 900 * 10**6
"""What the driver, Ray's own processes and the mirror hold on the driver's node, beside its trials."""
_LEAST_TIMED, _TIMED_A_PROCESS = 6, 3
_HOUR = 3600.0

Probe = Callable[..., Probed]


def make_plan(
    search: SearchPlan,
    nodes: Sequence[PlannedNode],
    *,
    slots: int,
    processes: int,
    records: Sequence[TrialRecord] = (),
    price: float | None = None,
    notes: Sequence[str] = (),
    probe: Probe = probe,
) -> Plan:
    """Times some trials of a search and simulates it.

    Args:
        search: looked at.
        nodes: that trials run on.
        slots: trials at once.
        processes: of the timing, at once: as many as trials would run at once on this machine.
        records: all of the search, if it goes on.
        price: of an hour of a worker or GPU.
        notes: what else is taken for granted, a sentence each.
        probe: times trials.

    Raises:
        ConfigError: no trial could be timed.
    """
    settings, base = search.settings, search.base
    taken_up = as_taken_up(records, base.num_reports)
    records = searched(taken_up)
    drawn = draw_trials(search, len(records))
    wanted = to_be_timed(drawn, search.num_layers, max(_LEAST_TIMED, _TIMED_A_PROCESS * processes))
    probed = probe(wanted, processes, gpus_per_trial=settings.gpus_per_trial)
    prospect = _prospect(search, drawn, wanted, probed, records=taken_up)
    outcomes = prospect.outcomes(prospect.courses, sorted({*WORKERS, slots}), prospect.past)
    bounds = [prospect.outcomes([corner] * len(prospect.courses), [slots], ())[slots] for corner in prospect.corners]
    here = outcomes[slots]
    by_workers = tuple(_for_workers(number, outcomes[number], settings.gpus_per_trial, price) for number in sorted(outcomes))
    [own] = [one for one in by_workers if one.workers == slots]
    device = [trial.device_memory_bytes for trial in probed.timed.values()]
    timings = {
        name: PlannedTiming(cost_settings(wanted[name]), timed, prospect.costs.course(wanted[name], timed).seconds)
        for name, timed in probed.timed.items()
    }
    known = [*(corner.seconds for corner in prospect.corners), *(timing.full_seconds for timing in timings.values())]
    budgets = [config.budget_examples or 0 for config in drawn.configs]
    return Plan(
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        space=describe_space(search.space, base),
        searcher=settings.searcher,
        early_stopping=settings.early_stopping,
        reduction_factor=settings.reduction_factor,
        num_reports=base.num_reports,
        trials=settings.trials,
        trials_to_go=prospect.num_to_go,
        slots=slots,
        gpus_per_trial=settings.gpus_per_trial,
        price=price,
        budgets=(min(budgets), max(budgets)),
        full_trial_seconds=Span(min(known), statistics.fmean(course.seconds for course in prospect.courses), max(known)),
        rungs=_rungs(here, base),
        complete=Span.of([outcome.num_complete + _num_complete(records) for outcome in here]),
        wall_seconds=own.wall_seconds,
        busy_hours=Span.of([outcome.busy_seconds / _HOUR for outcome in here]).times(settings.gpus_per_trial or 1),
        held_hours=own.held_hours,
        cost=own.cost,
        wall_bounds=(_median_wall(bounds[0]), _median_wall(bounds[1])),
        disk_bytes=_disk_bytes(search, probed, slots),
        memory_bytes=_memory_bytes([trial.memory_bytes + RAY_BYTES for trial in probed.timed.values()]),
        device_memory_bytes=_lowest_middle_highest(device) if any(device) else None,
        nodes=tuple(nodes),
        workers=by_workers,
        timed=timings,
        failed=probed.failed,
        probe_seconds=probed.seconds,
        probe_processes=probed.num_processes,
        curves=describe_curves(prospect.past, prospect.reports),
        trainings_to_confirm=statistics.median_high(outcome.num_after for outcome in here),
        confirm_seconds=Span.of([outcome.after_seconds for outcome in here]),
        assumptions=(*assumptions(search, probed, prospect.overhead, min(slots, processes), nodes), *notes),
        time_budget_seconds=settings.time_budget_seconds,
    )


@dataclass(frozen=True)
class _Prospect:
    """What is known of a search before it is simulated.

    Attributes:
        costs: of any trial.
        courses: of trials of the space; the first `num_known` are those to come.
        past, unfinished: trials that were begun.
        corners: the cheapest and the dearest.
        num_new: trials that are still to be begun.
        reports: at which trials are compared.
        afterwards: the trainings that confirm.
    """

    search: SearchPlan
    records: Sequence[TrialRecord]
    costs: Costs
    courses: Sequence[Course]
    num_known: int
    past: Sequence[Course]
    unfinished: Sequence[Course]
    corners: tuple[Course, Course]
    num_new: int
    reports: Sequence[int]
    overhead: Overhead
    afterwards: Afterwards

    @property
    def num_to_go(self) -> int:
        """Trials that have not ended."""
        return self.num_new + len(self.unfinished)

    def outcomes(self, courses: Sequence[Course], workers: Sequence[int], past: Sequence[Course]) -> dict[int, list[Outcome]]:
        """Of searches over these courses, or over past ones where there are enough of them."""
        settings = self.search.settings
        first_number = 1 + max((record.number for record in self.records), default=-1)  # trainings lie between a grown search's
        return replicate(
            drawing(
                self.num_known,
                courses,
                past=past,
                unfinished=self.unfinished,
                num_new=self.num_new,
                first_number=first_number,
            ),
            lambda: Rungs.from_records(self.records, self.reports, settings.reduction_factor),
            workers=workers,
            overhead=self.overhead,
            seed=settings.seed,
            afterwards=self.afterwards,
            time_budget_seconds=settings.time_budget_seconds,
            runs_on=functools.cache(self._runs_on),
        )

    def _runs_on(self, position: int) -> bool:
        before = sum(record.state == "stopped" or record.audited is not None for record in self.records)
        settings = self.search.settings
        return is_audited(before + position, settings.audit_share, num_trials=settings.trials, search_seed=settings.seed)


def _prospect(
    search: SearchPlan,
    drawn: Drawn,
    wanted: Mapping[str, TrialConfig],
    probed: Probed,
    *,
    records: Sequence[TrialRecord],
) -> _Prospect:
    settings, base = search.settings, search.base
    costs = Costs.of(wanted, probed.timed, search.num_layers, search.num_scored["dev"])
    afterwards, records = confirmation_after(records, settings, base, costs), searched(records)
    past = past_courses(records, costs, base.num_reports, base.early_dev_share)
    unfinished = unfinished_courses(records, past)
    num_ended = sum(record.state in ("complete", "stopped", "failed") for record in records)
    return _Prospect(
        search=search,
        records=records,
        costs=costs,
        courses=[costs.course(config) for config in drawn.configs],
        num_known=drawn.num_known,
        past=past,
        unfinished=unfinished,
        corners=(
            costs.course(drawn.cheapest, probed.timed.get("cheapest")),
            costs.course(drawn.dearest, probed.timed.get("dearest")),
        ),
        num_new=max(0, settings.trials - num_ended - len(unfinished)),
        reports=() if settings.early_stopping == "none" else rung_reports(base.num_reports, settings.reduction_factor),
        overhead=Overhead(START_SECONDS, WORKER_SECONDS, TRIAL_SECONDS, END_SECONDS + _export_seconds(search, costs)),
        afterwards=afterwards,
    )


def _export_seconds(search: SearchPlan, costs: Costs) -> float:
    """The best model scores dev and predicts dev and test, side by side where there are two threads for it."""
    dev, test = search.num_scored["dev"], search.num_scored["test"]
    return costs.scoring_seconds_per_row * max(dev, test)


def _num_complete(records: Sequence[TrialRecord]) -> int:
    return sum(record.state == "complete" for record in records)


def _for_workers(number: int, outcomes: Sequence[Outcome], gpus_per_trial: float, price: float | None) -> ForWorkers:
    hours = Span.of([outcome.held_seconds / _HOUR for outcome in outcomes]).times(gpus_per_trial or 1)
    wall = Span.of([outcome.wall_seconds for outcome in outcomes])
    return ForWorkers(number, wall, hours, None if price is None else hours.times(price))


def _rungs(outcomes: Sequence[Outcome], base: TrialConfig) -> tuple[PlannedRung, ...]:
    return tuple(
        PlannedRung(
            report,
            round(report * (base.budget_examples or 0) / base.num_reports),
            Span.of([outcome.rungs[place][1] for outcome in outcomes]),
            Span.of([outcome.rungs[place][2] for outcome in outcomes]),
        )
        for place, (report, _, _) in enumerate(outcomes[0].rungs)
    )


def _median_wall(outcomes: Sequence[Outcome]) -> float:
    return statistics.median(outcome.wall_seconds for outcome in outcomes)


def _memory_bytes(of_steps: Sequence[int]) -> Span:
    """Of the processes of whole trials, by what a step of each timed one holds."""
    return Span(min(of_steps), WHOLE_TRIAL * statistics.median(of_steps), OLD_WORKER * max(of_steps))


def _lowest_middle_highest(values: Sequence[int]) -> Span:
    return Span(min(values), statistics.median(values), max(values))


def _disk_bytes(search: SearchPlan, probed: Probed, slots: int) -> Span:
    """Between two reports; while one trial of the middle size writes a checkpoint; while all of the largest write all at once."""

    def usual(model_bytes: float, checkpoint_bytes: float) -> float:
        return replace(search, model_bytes=int(model_bytes), checkpoint_bytes=int(checkpoint_bytes)).usual_bytes(slots)

    models = [trial.model_bytes for trial in probed.timed.values()]
    checkpoints = [trial.checkpoint_bytes for trial in probed.timed.values()]
    most = float(search.most_bytes(slots))
    a_checkpoint = statistics.median(checkpoints)
    middle = min(most, usual(statistics.median(models), a_checkpoint) + a_checkpoint)
    return Span(min(middle, usual(min(models), min(checkpoints))), middle, most)
