"""What MLflow is to show of a search, from the ledger alone: one parent run, and one child a trial.

The time of a point follows from the ledger, not from the clock: a point that is sent again is the same point.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from trainables.plain_files import dump_yaml
from tuner.mirror_note import NOTE_TAG, note
from tuner.processes import user_name
from tuner.records import Report, TrialRecord, name_in_words, rank, report_seconds, searched
from tuner.search_folder import BEST, REPORT_FILE, SETTINGS_FILE, trial_folder

SEARCH_TAG, TRIAL_TAG = "tritune.search", "tritune.trial"
CHILD_CURVE, CONFIRM_CURVE, PARENT_CURVE = "score", "score_confirm", "best_score"

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
_STATUS: dict[str, Status] = {"complete": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_GROUPS = {
    "dev": re.compile(r"mean_score|.+_(accuracy|pearson)"),
    "train": re.compile(r"loss(_.+)?|lr|grad_norm|conflict_share|(learnt_weight|gradient_change)_.+"),
    "cost": re.compile(r"train_seconds|examples_per_second"),
}
"""What a metric of a report is about -> the names of those that are shown; MLflow's page gives each group a section of charts."""
_MAX_KEY, _MAX_PARAM, _MAX_TAG = 250, 6000, 8000


@dataclass(frozen=True)
class Point:
    """All metrics at one step."""

    step: int
    timestamp_ms: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Artifact:
    """A file to upload: the content of `path`, or a tree as YAML, under `name` (with `/` for folders)."""

    name: str
    path: Path | None = None
    tree: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The YAML, made when it is sent: of thousands of configs it would take longer than all the rest."""
        return dump_yaml(dict(self.tree))


@dataclass(frozen=True)
class WantedRun:
    """What MLflow is to hold of one run.

    Attributes:
        trial: its number, None for the parent.
        seal: value of the tag `tritune.mirrored` once everything here was sent; empty while the run is not over.
    """

    trial: int | None
    name: str
    status: Status
    start_ms: int
    end_ms: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: tuple[Point, ...]
    artifacts: tuple[Artifact, ...] = ()
    seal: str = ""

    @property
    def is_final(self) -> bool:
        """Of a trial that has ended: nothing of it will be otherwise."""
        return self.status in {"FINISHED", "FAILED"}


def wanted_runs(
    header: Mapping[str, Any],
    records: Sequence[TrialRecord],
    folder: Path,
    *,
    over: bool,
    settled: Collection[int] = (),
    claim: str = "",
    winner: TrialRecord | None = None,
) -> dict[int | None, WantedRun]:
    """The parent run and the children of a search, as the ledger has them now.

    Args:
        header: the ledger's.
        records: the ledger's, with `interrupted` where that is so.
        folder: of the search; artifacts are looked for in it.
        over: no driver is at work any more: then the parent ends, too.
        settled: trials that have ended and are known to be shown whole: they are left out.
        claim: what is claimed of the winner, as a sentence; empty: it was not confirmed.
        winner: the trial whose model is exported, or would be; None: the one with the best score.
    """
    winner = winner or next(iter(rank(records)), None)
    common = _common_tags(header, folder)
    shown = (record for record in records if record.config and record.number not in settled)
    children: dict[int | None, WantedRun] = {record.number: _child(record, common, folder) for record in shown}
    description = note(header, records, folder, over=over, claim=claim, winner=winner)
    own = {**common, **_winner_tags(winner), NOTE_TAG: description}
    parent = _parent(header, records, own, folder, over=over, winner=winner)
    runs: dict[int | None, WantedRun] = {None: parent}
    return runs | children


def search_id(header: Mapping[str, Any], folder: Path) -> str:
    """What the runs of a search are found again by: its id, or of one so old that it has none where it lies."""
    return str(header.get("id") or hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32])


def clean_name(name: str) -> str:
    """A config path in the characters that MLflow admits: `heads.*.kind` becomes `heads.all.kind`."""
    return re.sub(r"[^\w.\- /:]", "_", name.replace("*", "all"))[:_MAX_KEY]


def _child(record: TrialRecord, common: Mapping[str, str], folder: Path) -> WantedRun:
    status = _STATUS.get(record.state, "RUNNING")
    log = trial_folder(folder, record.number) / "log.txt"
    artifacts = [Artifact("config.yaml", tree=record.config)] + ([Artifact("log.txt", log)] if log.is_file() else [])
    tags = {TRIAL_TAG: str(record.number), "tritune.state": record.state, "tritune.confirms": _confirmed_by(record)}
    why = {"tritune.reason": record.reason, "tritune.detail": record.detail[:_MAX_TAG]}
    params = {**record.assignment, "seed": record.config.get("seed"), "budget_examples": record.config.get("budget_examples")}
    points = _points(record)
    return WantedRun(
        trial=record.number,
        name=f"trial-{record.number:04d}" + (f", {tags['tritune.confirms']}" if record.confirms else ""),
        status=status,
        start_ms=_milliseconds(record.started),
        end_ms=_milliseconds(record.ended) or max((p.timestamp_ms for p in points), default=_milliseconds(record.started)),
        tags={**common, **{key: value for key, value in (tags | why).items() if value}},
        params=_params(params),
        points=points,
        artifacts=tuple(artifacts) if status != "RUNNING" else (),
        seal=f"{record.state}, {len(points)} reports" if status != "RUNNING" else "",
    )


def _confirmed_by(record: TrialRecord) -> str:
    """What a trial confirms, in words; empty of one of the search."""
    if record.confirms is None:
        return ""
    return f"confirms {name_in_words(record.confirms.trial)}, seed {record.confirms.repeat + 1}"


def _parent(
    header: Mapping[str, Any],
    records: Sequence[TrialRecord],
    common: Mapping[str, str],
    folder: Path,
    *,
    over: bool,
    winner: TrialRecord | None,
) -> WantedRun:
    ended = header.get("ended")
    state = (ended or "interrupted") if over else "running"
    artifacts = _parent_artifacts(folder, winner) if over else ()
    started = [_milliseconds(record.started) for record in records if record.started]
    return WantedRun(
        trial=None,
        name=str(header.get("name") or folder.name),
        status="RUNNING" if not over else "FINISHED" if ended == "complete" else "KILLED",
        start_ms=min(started, default=0),
        end_ms=max((_milliseconds(record.ended) for record in records), default=0) or max(started, default=0),
        tags={**common, "tritune.state": state, **_lineage_tags(header)},
        params=_params(_flat(header.get("settings") or {})),
        points=_best_so_far(records),
        artifacts=artifacts,
        seal=f"{state}, {len(records)} trials, {_digest(artifacts, common[NOTE_TAG])}" if over else "",
    )


def _points(record: TrialRecord) -> tuple[Point, ...]:
    clock, out = float(_milliseconds(record.started)), []
    for report in record.reports:
        clock += 1000 * report_seconds(report)
        out.append(Point(int(report["budget"]), int(clock), _metrics(report)))
    return tuple(out)


def _metrics(report: Report) -> dict[str, float]:
    """The numbers of a report that are worth a curve, `score` always."""
    numbers = {key: float(value) for key, value in report.items() if type(value) in {int, float}}
    shown = {f"{group}/{key}": numbers[key] for group, names in _GROUPS.items() for key in numbers if names.fullmatch(key)}
    own = {CHILD_CURVE: float(report["score"])}
    if "confirm" in report:
        own[CONFIRM_CURVE] = float(report["confirm"]["score"])
    return {**own, **{clean_name(key): value for key, value in shown.items()}}


def _best_so_far(records: Sequence[TrialRecord]) -> tuple[Point, ...]:
    """After so many ended trials (the step), the best score of those with their full budget that train every task."""
    ended = sorted((r for r in searched(records) if r.ended is not None), key=lambda r: (r.ended, r.number))
    best, out = None, []
    for step, record in enumerate(ended, start=1):
        if record.state == "complete" and record.trains_every_task and record.score is not None:
            best = max(best or record.score, record.score)
        if best is not None:
            out.append(Point(step, _milliseconds(record.ended), {PARENT_CURVE: best}))
    return tuple(out)


def _parent_artifacts(folder: Path, winner: TrialRecord | None) -> tuple[Artifact, ...]:
    """Settings, report, and of the winner: config, metrics, model card, predictions, log; no weights."""
    exported = [path for pattern in ("*.yaml", "*.json", "*.md", "predictions/*") for path in (folder / BEST).glob(pattern)]
    paths = {name: folder / name for name in (SETTINGS_FILE, REPORT_FILE)}
    paths |= {f"{BEST}/{path.relative_to(folder / BEST).as_posix()}": path for path in exported}
    if winner is not None:
        paths[f"{BEST}/log.txt"] = trial_folder(folder, winner.number) / "log.txt"
    return tuple(Artifact(name, path) for name, path in sorted(paths.items()) if path.is_file())


def _digest(artifacts: Sequence[Artifact], description: str) -> str:
    """Changes with the description and the content of any artifact, so that an export made anew is sent anew."""
    digest = hashlib.sha256(description.encode())
    for artifact in artifacts:
        content = artifact.path.read_bytes() if artifact.path else artifact.text.encode()
        digest.update(f"{artifact.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _common_tags(header: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Tags of every run of a search; the git commit and the user are set here because only `mlflow.start_run` sets them."""
    lineage, hashes = header.get("lineage") or {}, header.get("data_hashes") or {}
    tags = {
        SEARCH_TAG: search_id(header, folder),
        "mlflow.user": user_name(),
        "mlflow.source.name": "tuner.search",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": lineage.get("git_commit"),
        "mlflow.source.git.dirty": lineage.get("git_dirty"),
        "tritune.data_sha256": hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest() if hashes else None,
    }
    return {key: _text(value)[:_MAX_TAG] for key, value in tags.items() if value is not None}


def _lineage_tags(header: Mapping[str, Any]) -> dict[str, str]:
    lineage = header.get("lineage") or {}
    return {f"tritune.{k}": _text(lineage[k])[:_MAX_TAG] for k in ("python", "packages", "hardware") if k in lineage}


def _winner_tags(winner: TrialRecord | None) -> dict[str, str]:
    if winner is None:
        return {}
    return {"tritune.best_trial": str(winner.number), "tritune.best_config": _text(winner.assignment)[:_MAX_TAG]}


def _params(values: Mapping[str, Any]) -> dict[str, str]:
    return {clean_name(key): _text(value)[:_MAX_PARAM] for key, value in values.items()}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return out


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _milliseconds(moment: datetime | None) -> int:
    return int(moment.timestamp() * 1000) if moment else 0
