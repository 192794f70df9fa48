"""What the exported model gets right and wrong on dev, as plain tuples: from `best/` and, for texts and labels, the data's files.

What is not there is told in a sentence instead: an export, its predictions, the data, or data that have changed since the search.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.config_parts import DataConfig
from trainables.data.reading import DataError, Rows, read_dev
from trainables.plain_files import read_json, read_text
from trainables.predictions import YES_OR_NO
from trainables.tasks import Task, TaskSet, class_names
from tuner.search_folder import BEST

METRICS = "metrics.json"
_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Confusion:
    """Of a task of classes, or of yes or no.

    Attributes:
        title: of the task.
        names: of the classes, in their order.
        counts: rows by true label (outer) and prediction.
    """

    title: str
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def recalls(self) -> tuple[float | None, ...]:
        """Share of each class that is found, in [0, 1]; None of a class without rows."""
        return tuple(row[at] / sum(row) if sum(row) else None for at, row in enumerate(self.counts))


@dataclass(frozen=True)
class Scatter:
    """Of a task of scores.

    Attributes:
        title: of the task.
        low, high: range of the labels.
        points: label and prediction of each row.
    """

    title: str
    low: float
    high: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class WrongRow:
    """A row that is predicted wrong.

    Attributes:
        id: of the row.
        texts: its sentences; empty where the data are not there.
        label, predicted: in words.
        probability: of yes; None where an older export does not say.
    """

    id: str
    texts: tuple[str, ...]
    label: str
    predicted: str
    probability: float | None


@dataclass(frozen=True)
class WrongRows:
    """The worst errors of a task of yes or no; `is_ranked`: those that the model is surest of, surest first."""

    title: str
    rows: tuple[WrongRow, ...]
    is_ranked: bool


@dataclass(frozen=True)
class Mistakes:
    """What the exported model gets wrong.

    Attributes:
        trial: that is exported; None: nothing is.
        confusions, scatters, worst: of the tasks that have such.
        missing: a sentence for each thing that cannot be shown.
    """

    trial: int | None
    confusions: tuple[Confusion, ...]
    scatters: tuple[Scatter, ...]
    worst: tuple[WrongRows, ...]
    missing: tuple[str, ...]


def read_mistakes(folder: Path, tasks: TaskSet, data: DataConfig, hashes: Mapping[str, str]) -> Mistakes:
    """What lies in a search's `best/`, beside its data.

    Args:
        folder: of the search.
        tasks: that it is about.
        data: where its rows come from.
        hashes: of the data's files, as the search found them; data that are other ones now are not shown.
    """
    try:
        metrics = read_json(folder / BEST / METRICS)
        if isinstance(metrics, dict) and "dev" not in metrics:
            return Mistakes(None, (), (), (), (f"{BEST}/{METRICS} is of an older export: python -m tuner.export writes it anew",))
        figures = metrics["dev"]["tasks"]
        trial = int(metrics["trial"])
        confusions = tuple(_confusion(task, figures[task.name]) for task in tasks.tasks if "confusion" in figures[task.name])
    except OSError:
        return Mistakes(None, (), (), (), ("nothing is exported yet: python -m tuner.export does it",))
    except (ValueError, KeyError, TypeError) as error:
        return Mistakes(None, (), (), (), (f"{BEST}/{METRICS} does not say it: {type(error).__name__}: {error}",))
    scatters, worst, missing = [], [], []
    for task in tasks.tasks:
        if task.target == "classes":
            continue
        try:
            rows = _dev(task, data, hashes)
        except DataError as error:
            rows = None
            missing.append(f"{task.title}: the data are not shown: {error.problems[0]}")
        try:
            if task.target == "score" and rows is not None:
                scatters.append(_scatter(task, rows, _predictions(folder, task)))
            elif task.target == "binary":
                worst.append(_wrong_rows(folder, task, rows, figures[task.name].get("worst")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            missing.append(f"{task.title}: {BEST}/predictions does not say it: {type(error).__name__}: {error}")
    return Mistakes(trial, confusions, tuple(scatters), tuple(worst), tuple(missing))


def parse_predictions(text: str) -> dict[str, float]:
    """Id -> prediction, of what `trainables.predictions.prediction_file` writes.

    Raises:
        ValueError: a line is none of these.
    """
    out = {}
    for line in text.splitlines()[1:]:
        row_id, _, value = line.rpartition(" , ")
        out[row_id] = float(value)
    if not all(map(math.isfinite, out.values())):
        raise ValueError("predictions must be finite numbers")
    return out


def _confusion(task: Task, figures: Mapping[str, Any]) -> Confusion:
    counts = tuple(tuple(int(count) for count in row) for row in figures["confusion"])
    names = YES_OR_NO if task.target == "binary" else tuple(name.replace("_", " ") for name in class_names(task))
    return Confusion(task.title, names or tuple(map(str, range(len(counts)))), counts)


def _dev(task: Task, data: DataConfig, hashes: Mapping[str, str]) -> Rows:
    rows, name, sha256 = read_dev(data, task)
    if hashes.get(name) != sha256:
        raise DataError([f"{name} has changed since the search began"])
    return rows


def _predictions(folder: Path, task: Task) -> dict[str, float]:
    return parse_predictions(read_text(folder / BEST / "predictions" / f"{task.prediction_name}-dev-output.csv", _MAX_BYTES))


def _scatter(task: Task, rows: Rows, predicted: Mapping[str, float]) -> Scatter:
    assert rows.labels is not None, "dev has labels"
    points = tuple((float(label), predicted[name]) for name, label in zip(rows.ids, rows.labels, strict=True))
    return Scatter(task.title, task.label_low, task.label_high, points)


def _wrong_rows(folder: Path, task: Task, rows: Rows | None, worst: Sequence[Mapping[str, Any]] | None) -> WrongRows:
    """The worst as the export names them; of an export from before that, the first in the file, with the data's labels."""
    places = {name: place for place, name in enumerate(rows.ids)} if rows is not None else {}
    if worst is None:
        if rows is None:
            raise ValueError("an older export names no errors, and the data are not there")
        assert rows.labels is not None, "dev has labels"
        predicted = _predictions(folder, task)
        pairs = zip(rows.ids, rows.labels.tolist(), strict=True)
        worst = [{"id": name, "label": label} for name, label in pairs if (predicted[name] > 0) != (label > 0)][:20]
        is_ranked = False
    else:
        is_ranked = True
    out = []
    for row in worst:
        label, place = int(row["label"]), places.get(row["id"])
        texts = () if rows is None or place is None else tuple(column[place] for column in rows.sentences)
        chance = float(row["probability"]) if "probability" in row else None
        out.append(WrongRow(str(row["id"]), texts, YES_OR_NO[label], YES_OR_NO[1 - label], chance))
    return WrongRows(task.title, tuple(out), is_ranked)
