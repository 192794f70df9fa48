"""Makes a plan: some trials are timed for well under a minute, then the search is simulated."""

import datetime
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from search_spaces.domains import Categorical, Domain, Float
from search_spaces.size import num_combinations
from search_spaces.space import Space
from search_spaces.study import StudySpace
from trainables.config import TrialConfig
from trainables.paths import values_at
from tuner.plan import ForWorkers, Plan, PlannedDimension, PlannedNode, PlannedRung, PlannedSpace, PlannedTiming
from tuner.plan_corners import Drawn, draw_trials, to_be_timed
from tuner.plan_courses import LEAST_PAST, Costs, drawing, past_courses, unfinished_courses
from tuner.plan_probe import Probed, probe
from tuner.plan_simulation import Course, Outcome, Overhead, Span, replicate
from tuner.records import TrialRecord
from tuner.rungs import Rungs, rung_reports
from tuner.search_plan import SearchPlan

WORKERS = (1, 2, 4, 8, 16, 32, 64)
START_SECONDS, WORKER_SECONDS, TRIAL_SECONDS, END_SECONDS = 6.0, 3.0, 0.2, 8.0
"""Up to the first trial; of a worker's imports; between two trials; Ray's and the mirror's end (README, Figures)."""
RAY_BYTES = 100 * 2**20
"""What Ray Tune's import adds to a worker's memory, which the timed process does without."""
_LEAST_TIMED, _TIMED_A_PROCESS = 6, 3
_COST_HANGS_ON = (
    "data.batch_size",
    "encoder.pair_encoding",
    "encoder.copies",
    "encoder.lora.rank",
    "objective.smart.enabled",
    "objective.smart.batch_share",
    "objective.bregman.mu",
)
_OF_PHASES = ("task_schedule", "trainable", "frozen_layers")
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
    num_full_trials_after: int = 0,
    notes: Sequence[str] = (),
    probe: Probe = probe,
) -> Plan:
    """Times some trials of a search and simulates it.

    Args:
        search: looked at.
        nodes: that trials run on.
        slots: trials at once.
        processes: of the timing, at once: as many as trials would run at once on this machine.
        records: of the search, if it goes on.
        price: of an hour of a worker or GPU.
        num_full_trials_after: trials with their full budget that follow the search.
        notes: what else is taken for granted, a sentence each.
        probe: times trials.

    Raises:
        ConfigError: no trial could be timed.
    """
    settings, base = search.settings, search.base
    drawn = draw_trials(search, len(records))
    wanted = to_be_timed(drawn, search.num_layers, max(_LEAST_TIMED, _TIMED_A_PROCESS * processes))
    probed = probe(wanted, processes, gpus_per_trial=settings.gpus_per_trial)
    costs = Costs.of(wanted, probed.timed, search.num_layers, search.num_scored["dev"])
    courses = [costs.course(config) for config in drawn.configs]
    past = past_courses(records, costs, base.num_reports, base.early_dev_share)
    unfinished = unfinished_courses(records, past)
    num_ended = sum(record.state in ("complete", "stopped", "failed") for record in records)
    num_new = max(0, settings.trials - num_ended - len(unfinished))
    reports = () if settings.early_stopping == "none" else rung_reports(base.num_reports, settings.reduction_factor)
    overhead = Overhead(START_SECONDS, WORKER_SECONDS, TRIAL_SECONDS, END_SECONDS + _export_seconds(search, costs))
    corners = [costs.course(config, probed.timed.get(name)) for name, config in _corners(drawn, wanted).items()]

    def outcomes_of(courses: Sequence[Course], workers: Sequence[int], known: Sequence[Course]) -> dict[int, list[Outcome]]:
        return replicate(
            drawing(drawn.num_known, courses, past=known, unfinished=unfinished, num_new=num_new, first_number=len(records)),
            lambda: Rungs.from_records(records, reports, settings.reduction_factor),
            workers=workers,
            overhead=overhead,
            seed=settings.seed,
            num_full_trials_after=num_full_trials_after,
            time_budget_seconds=settings.time_budget_seconds,
        )

    outcomes = outcomes_of(courses, sorted({*WORKERS, slots}), past)
    bounds = [outcomes_of([corner] * len(courses), [slots], ())[slots] for corner in corners]
    here = outcomes[slots]
    by_workers = tuple(_for_workers(number, outcomes[number], settings.gpus_per_trial, price) for number in sorted(outcomes))
    [own] = [one for one in by_workers if one.workers == slots]
    memory = sorted(trial.memory_bytes + RAY_BYTES for trial in probed.timed.values())
    device = sorted(trial.device_memory_bytes for trial in probed.timed.values())
    timings = {
        name: PlannedTiming(_settings(wanted[name]), timed, costs.course(wanted[name], timed).seconds)
        for name, timed in probed.timed.items()
    }
    full = [course.seconds for course in courses]
    known = [*(corner.seconds for corner in corners), *(timing.full_seconds for timing in timings.values())]
    budgets = [config.budget_examples or 0 for config in drawn.configs]
    return Plan(
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        space=describe_space(search.space, base),
        searcher=settings.searcher,
        early_stopping=settings.early_stopping,
        reduction_factor=settings.reduction_factor,
        num_reports=base.num_reports,
        trials=settings.trials,
        trials_to_go=num_new + len(unfinished),
        slots=slots,
        gpus_per_trial=settings.gpus_per_trial,
        price=price,
        budgets=(min(budgets), max(budgets)),
        full_trial_seconds=Span(min(known), statistics.fmean(full), max(known)),
        rungs=_rungs(here, base),
        complete=Span.of([outcome.num_complete + _num_complete(records) for outcome in here]),
        wall_seconds=own.wall_seconds,
        busy_hours=Span.of([outcome.busy_seconds / _HOUR for outcome in here]).times(settings.gpus_per_trial or 1),
        held_hours=own.held_hours,
        cost=own.cost,
        wall_bounds=(
            statistics.median(outcome.wall_seconds for outcome in bounds[0]),
            statistics.median(outcome.wall_seconds for outcome in bounds[1]),
        ),
        disk_bytes=_disk_bytes(search, probed, slots),
        memory_bytes=_lowest_middle_highest(memory),
        device_memory_bytes=_lowest_middle_highest(device) if device[-1] else None,
        nodes=tuple(nodes),
        workers=by_workers,
        timed=timings,
        failed=probed.failed,
        probe_seconds=probed.seconds,
        probe_processes=probed.num_processes,
        curves=_describe_curves(past, reports),
        assumptions=(*_assumptions(search, probed, processes, slots, nodes), *notes),
        time_budget_seconds=settings.time_budget_seconds,
    )


def _corners(drawn: Drawn, wanted: Mapping[str, TrialConfig]) -> dict[str, TrialConfig]:
    return {"cheapest": wanted.get("cheapest", drawn.cheapest), "dearest": wanted.get("dearest", drawn.dearest)}


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


def _lowest_middle_highest(values: Sequence[int]) -> Span:
    return Span(values[0], statistics.median(values), values[-1])


def _disk_bytes(search: SearchPlan, probed: Probed, slots: int) -> Span:
    def peak(model_bytes: float, checkpoint_bytes: float) -> float:
        return replace(search, model_bytes=int(model_bytes), checkpoint_bytes=int(checkpoint_bytes)).most_bytes(slots)

    models = [trial.model_bytes for trial in probed.timed.values()]
    checkpoints = [trial.checkpoint_bytes for trial in probed.timed.values()]
    most = float(search.most_bytes(slots))
    middle = min(most, peak(statistics.median(models), statistics.median(checkpoints)))
    return Span(min(middle, peak(min(models), min(checkpoints))), middle, most)


def describe_space(space: Space, base: TrialConfig) -> PlannedSpace:
    """What varies, in words, and how many combinations there are."""
    dimensions = tuple(
        PlannedDimension(
            dimension.name,
            _values(dimension.domain),
            ", ".join(f"{path}={'|'.join(map(_word, values))}" for path, values in dimension.when.items()),
        )
        for dimension in space.dimensions
    )
    num_ranges = sum(isinstance(dimension.domain, Float) for dimension in space.dimensions)
    return PlannedSpace(space.name, dimensions, num_ranges, str(num_combinations(space, base)))


def _values(domain: Domain) -> str:
    if isinstance(domain, Categorical):
        return ", ".join(map(_word, domain.choices))
    return f"{domain.low:g} to {domain.high:g}{', log' if domain.log else ''}"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _settings(config: TrialConfig) -> dict[str, Any]:
    """Config path -> value of what a trial's cost hangs on, where it is not the default; the batch size always."""
    tree, default = config.to_tree(), TrialConfig().to_tree()
    pairs = {path: (values_at(tree, path)[0], values_at(default, path)[0]) for path in _COST_HANGS_ON}
    for number, phase in enumerate(tree["phases"]):
        pairs |= {f"phases.{number}.{key}": (phase[key], default["phases"][0][key]) for key in _OF_PHASES}
    return {path: value for path, (value, plain) in pairs.items() if value != plain or path == _COST_HANGS_ON[0]}


def _describe_curves(past: Sequence[Course], reports: Sequence[int]) -> str:
    if len(past) >= LEAST_PAST:
        return f"{len(past)} past trials of this search, drawn with replacement: their scores and their seconds"
    if not reports:
        return "none are needed: nothing is stopped early"
    return "scores drawn at random: about one trial of eta goes on at each rung"


def _assumptions(search: SearchPlan, probed: Probed, processes: int, slots: int, nodes: Sequence[PlannedNode]) -> list[str]:
    settings, out = search.settings, []
    at_once = min(slots, processes)
    alike = (
        f"as {at_once} trials" if probed.num_processes >= at_once else f"where {at_once} trials, which may slow each other more,"
    )
    out.append(
        f"steps were timed with {probed.num_processes} at once on this machine, {alike} run at once; "
        "all workers are taken to be as fast, however many there are"
    )
    out.append(
        f"beside its trials a search takes {START_SECONDS:g} s to start, {WORKER_SECONDS:g} s a worker, {TRIAL_SECONDS:g} s "
        f"between two trials and {END_SECONDS:g} s to end, and scores dev and test for the export (on two cores: README, Figures)"
    )
    if settings.searcher == "tpe" and settings.early_stopping == "asha":
        out.append("what TPE learns changes what it draws: trials are costed as draws at random, its first ones apart")
    if any(phase.frozen_layers or phase.trainable == "heads" for phase in search.base.phases) or any(
        dimension.path.endswith(("frozen_layers", "trainable")) for dimension in search.space.dimensions
    ):
        out.append("frozen layers are timed as computed in each step; where their outputs are cached, trials are quicker")
    if isinstance(search.space, StudySpace) and any(row.teachers for row in search.space.study.rows):
        out.append("students wait for their teachers, which is not simulated; nor are the teachers' own predictions timed")
    if not all(trial.has_largest_batch for trial in probed.timed.values()):
        out.append("for some trials no time was left for a step with their largest batch: memory may be more")
    if len({node.host for node in nodes}) > 1:
        out.append("the steps were timed on this machine; the cluster's other nodes may be faster or slower")
    return out
