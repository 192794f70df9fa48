"""What a plan says in words: the space, the settings of what was timed, where curves come from, what is taken for granted."""

from collections.abc import Sequence
from typing import Any

from search_spaces.domains import Categorical, Domain, Float
from search_spaces.size import num_combinations
from search_spaces.space import Space
from search_spaces.study import StudySpace
from trainables.config import TrialConfig
from trainables.paths import values_at
from tuner.confirm import is_confirmed
from tuner.plan import PlannedDimension, PlannedNode, PlannedSpace
from tuner.plan_courses import LEAST_PAST
from tuner.plan_probe import Probed
from tuner.plan_simulation import Course, Overhead
from tuner.search_plan import SearchPlan
from tuner.settings import SearchSettings

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


def cost_settings(config: TrialConfig) -> dict[str, Any]:
    """Config path -> value of what a trial's cost hangs on, where it is not the default; the batch size always."""
    tree, default = config.to_tree(), TrialConfig().to_tree()
    pairs = {path: (values_at(tree, path)[0], values_at(default, path)[0]) for path in _COST_HANGS_ON}
    for number, phase in enumerate(tree["phases"]):
        pairs |= {f"phases.{number}.{key}": (phase[key], default["phases"][0][key]) for key in _OF_PHASES}
    return {path: value for path, (value, plain) in pairs.items() if value != plain or path == _COST_HANGS_ON[0]}


def describe_curves(past: Sequence[Course], reports: Sequence[int]) -> str:
    """Where the simulation has its learning curves from; `reports` are those at which trials are compared."""
    if len(past) >= LEAST_PAST:
        return f"{len(past)} past trials of this search, drawn with replacement: their scores and their seconds"
    if not reports:
        return "none are needed: nothing is stopped early"
    return "scores drawn at random: about one trial of eta goes on at each rung"


def assumptions(search: SearchPlan, probed: Probed, overhead: Overhead, at_once: int, nodes: Sequence[PlannedNode]) -> list[str]:
    """What is taken for granted, a sentence each.

    Args:
        search: looked at.
        probed: what was timed.
        overhead: of the search beside its trials; its end with the scoring of dev and test.
        at_once: trials that would run at once on this machine.
        nodes: that trials run on.
    """
    settings, out = search.settings, []
    is_alike = probed.num_processes >= at_once
    out.append(
        f"steps were timed with {probed.num_processes} at once on this machine, where {at_once} trials run at once"
        f"{'' if is_alike else ', and may slow each other more'}; all workers are taken to be as fast, however many there are"
    )
    out.append("a range is that of chance: who is drawn, who is stopped; what else the machine has to do moves all times alike")
    out.append(
        f"beside its trials a search takes {overhead.start:g} s to start, {overhead.worker:g} s a worker, {overhead.trial:g} s "
        f"between two trials, and {overhead.end:.0f} s to end, with dev and test scored for the export (README, Figures)"
    )
    if is_confirmed(settings, search.base):
        out.append(
            f"the best {settings.confirm} of a simulated search are trained again, or all that came to their end; the trainings "
            f"are counted as in the middle one{_kept_for_them(settings)}"
        )
    if settings.audit_share > 0 and settings.early_stopping == "asha":
        one_of = max(1, round(1 / settings.audit_share))
        out.append(f"one of {one_of} trials that are stopped, and one at least, runs on to its full budget (--audit-share)")
    if settings.searcher == "tpe" and settings.early_stopping == "asha":
        out.append("what TPE learns changes what it draws: trials are costed as draws at random, its first ones apart")
    if any(phase.frozen_layers or phase.trainable == "heads" for phase in search.base.phases) or any(
        dimension.path.endswith(("frozen_layers", "trainable")) for dimension in search.space.dimensions
    ):
        out.append("frozen layers are timed as computed in each step; where their outputs are cached, trials are quicker")
    if isinstance(search.space, StudySpace) and any(row.teachers for row in search.space.study.rows):
        out.append("students wait for their teachers, which is not simulated; nor are the teachers' own predictions timed")
    if not all(trial.has_largest_batch for trial in probed.timed.values()):
        out.append("of some trials no step with their largest batch was timed: their memory is reckoned by a smaller one")
    if len({node.host for node in nodes}) > 1:
        out.append("the steps were timed on this machine; the cluster's other nodes may be faster or slower")
    return out


def _kept_for_them(settings: SearchSettings) -> str:
    return "" if settings.time_budget_seconds is None else "; no trial is begun once only their time is left"
