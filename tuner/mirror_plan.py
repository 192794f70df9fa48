"""What is missing in MLflow: compares a run that is wanted with what is held of it; pure functions, no client.

The operations come in an order in which a mirror may be killed after any of them: what is planned next, from what stands then,
completes the run and sends nothing twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tuner.mirror_runs import Artifact, Point, Status, WantedRun

WHOLE_TAG = "tritune.mirrored"
MAX_ENTITIES = 1000
"""Metrics, parameters and tags that `log_batch` takes together; of more it makes several calls, which may part a point."""


@dataclass
class HeldRun:
    """What MLflow holds of one run; `steps` stays empty where nothing needs to be known of them."""

    run_id: str
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    steps: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Create:
    """Make the run, with the tags that it is found again by."""

    run: WantedRun


@dataclass(frozen=True)
class Log:
    """One `log_batch`: its points arrive all or none."""

    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[Point] = ()


@dataclass(frozen=True)
class SetStatus:
    """Reopen the run, or end it."""

    status: Status
    end_ms: int


@dataclass(frozen=True)
class Upload:
    """Upload one artifact; again is the same."""

    artifact: Artifact


Operation = Create | Log | SetStatus | Upload


def plan_run(wanted: WantedRun, held: HeldRun | None) -> list[Operation]:
    """The operations that turn what MLflow holds of a run into what is wanted of it; none where it is whole."""
    operations: list[Operation] = []
    if held is None:
        operations.append(Create(wanted))
        held = HeldRun("", tags=dict(wanted.tags))
    if is_whole(wanted, held):
        return []
    if wanted.status == "RUNNING" != held.status:
        operations.append(SetStatus("RUNNING", wanted.end_ms))
    operations += _missing_logs(wanted, held)
    if wanted.status not in ("RUNNING", held.status):
        operations.append(SetStatus(wanted.status, wanted.end_ms))
    if wanted.seal and held.tags.get(WHOLE_TAG) != wanted.seal:
        operations += [Upload(artifact) for artifact in wanted.artifacts]
        operations.append(Log(tags={WHOLE_TAG: wanted.seal}))
    return operations


def is_whole(wanted: WantedRun, held: HeldRun) -> bool:
    """True where the run is over and all of it was sent, so that its history need not be read."""
    return wanted.seal != "" and held.tags.get(WHOLE_TAG) == wanted.seal and held.status == wanted.status


def count_missing(wanted: Mapping[int | None, WantedRun], held: Mapping[int | None, HeldRun] | None) -> tuple[int, int]:
    """How many trials MLflow does not hold whole, and how many of their reports; all of them where it could not be asked."""
    num_trials = num_reports = 0
    for trial, run in wanted.items():
        there = (held or {}).get(trial)
        operations = plan_run(run, there)
        num_trials += trial is not None and bool(operations)
        num_reports += sum(len(op.points) for op in operations if isinstance(op, Log) and trial is not None)
    return num_trials, num_reports


def _missing_logs(wanted: WantedRun, held: HeldRun) -> list[Log]:
    """The missing points, as many in a log as it takes; params and tags go with the first, or alone where no point is missing."""
    changed = {f"tritune.now.{key}": value for key, value in wanted.params.items() if held.params.get(key, value) != value}
    tags = {key: value for key, value in {**wanted.tags, **changed}.items() if held.tags.get(key) != value}
    params = {key: value for key, value in wanted.params.items() if key not in held.params}
    points = [point for point in wanted.points if point.step not in held.steps]
    if not (points or tags or params):
        return []
    at_once = _points_at_once(points, MAX_ENTITIES - len(tags) - len(params))
    return [Log(tags, params, points[:at_once]), *(Log(points=batch) for batch in _batches(points[at_once:]))]


def _points_at_once(points: Sequence[Point], num_metrics: int) -> int:
    return max(1, num_metrics // max((len(point.metrics) for point in points), default=1))


def _batches(points: Sequence[Point]) -> list[Sequence[Point]]:
    """The points in as few parts as MLflow takes."""
    size = _points_at_once(points, MAX_ENTITIES)
    return [points[n : n + size] for n in range(0, len(points), size)]
