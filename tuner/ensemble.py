"""Ensembles of exported models: what several of them predict together, scored and handed over.

DIR/
ensemble.yaml            members, the sums of their weights, and which of them each task's predictions come from
metrics.json             what each member and each way of putting them together scores on dev
predictions/             the CS224N prediction files, as those of an export
README.md                the card

Source: best_fit, section 5.7, which takes each task's predictions from the model that is best at it (`best_per_task`).
Departure: averaged predictions (`average`), of which it says nothing, are the default, for they choose nothing on dev.
"""

import contextlib
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from trainables.data.rows import Split
from trainables.parts import ConfigError, nearest
from trainables.paths import write_yaml
from trainables.predictions import softmax
from trainables.tasks import Task, TaskSet
from trainables.threads import torch_threads
from tuner import search_folder
from tuner.handover import problems_of_out, written_whole
from tuner.members import Member, find_members
from tuner.model_card import ensemble_card
from tuner.predictions import write_predictions

ENSEMBLE_FILE = "ensemble.yaml"
FILES = (ENSEMBLE_FILE, "metrics.json", "README.md")
PREDICTIONS = "predictions"
SPLITS: tuple[Split, ...] = ("dev", "test")

Outputs = Mapping[Split, Mapping[str, np.ndarray]]
"""For each split and task what `trainables.evaluation.decide` takes: float `[num_rows, num_classes]` or `[num_rows]`."""


@dataclass(frozen=True)
class Scored:
    """Predictions of a member, or of several together.

    Attributes:
        outputs: of each split and task.
        metrics: on dev: each task's, `score` and `mean_score`.
        sources: for each task the members that it comes from, by their place.
    """

    outputs: Outputs
    metrics: dict[str, float]
    sources: dict[str, list[int]]


@dataclass(frozen=True)
class Ensemble:
    """Members, and what they score alone and together.

    Attributes:
        tasks: the first member's; its formula makes every score.
        members: in the order in which they were given.
        alone: each member's predictions.
        together: by the name of the way, `HOW`.
    """

    tasks: TaskSet
    members: list[Member]
    alone: list[Scored]
    together: dict[str, Scored]


def export_ensemble(
    folders: Sequence[Path], *, how: str = "average", data: str | None = None, out: Path | None = None
) -> tuple[Path, Ensemble]:
    """Scores several exported models alone and together, and writes the ensemble.

    Args:
        folders: of the members, as `find_members` takes them; one given twice counts twice in an average.
        how: whose predictions are written: `average` or `best_per_task`.
        data: what they are scored on; None: what they were trained on.
        out: the folder to write; None: a new one, `runs/{date}-ensemble`.

    Returns:
        The folder written, and what was found.

    Raises:
        ConfigError: what is wrong with all that was asked for, before any model is loaded.
    """
    known = [*FILES, PREDICTIONS]
    problems = [*_problems_of_how(how), *(problems_of_out(out, "an ensemble", needed=FILES, known=known) if out else [])]
    try:
        members = find_members(folders, data)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    with contextlib.nullcontext(out) if out else search_folder.claimed("ensemble", datetime.date.today()) as folder:
        ensemble = score_members(members)
        _write(folder, ensemble, how)
    return folder, ensemble


def score_members(members: list[Member]) -> Ensemble:
    """Loads the members one after the other, runs each over dev and test, and puts their predictions together in both ways."""
    tasks = members[0].config.tasks
    alone = [_score_member(member, place, tasks) for place, member in enumerate(members)]
    return Ensemble(tasks, members, alone, {how: combine(tasks, alone, members[0]) for how, combine in HOW.items()})


def average(tasks: TaskSet, alone: Sequence[Scored], reader: Member) -> Scored:
    """The mean of all members' predictions, in an order of its own: that of the members does not matter.

    Probabilities are averaged, not logits, so that no member counts for more because its logits are larger; scores are
    averaged as they are (`mean_prediction`).
    """
    outputs = {
        split: {name: mean_prediction(tasks.by_name[name], [one.outputs[split][name] for one in alone]) for name in by_task}
        for split, by_task in alone[0].outputs.items()
    }
    return Scored(outputs, _metrics(tasks, outputs["dev"], reader), {name: [*range(len(alone))] for name in tasks.names})


def best_per_task(tasks: TaskSet, alone: Sequence[Scored], reader: Member) -> Scored:
    """Each task's predictions from the member with the best metric on it (of equals the first; one that is NaN is never better).

    The metric is that on dev, so what dev then says of the ensemble is on the lucky side.
    """
    best = {task.name: _best([one.metrics[task.metric_key] for one in alone]) for task in tasks.tasks}
    outputs = {
        split: {name: alone[best[name]].outputs[split][name] for name in by_task} for split, by_task in alone[0].outputs.items()
    }
    return Scored(outputs, _metrics(tasks, outputs["dev"], reader), {name: [place] for name, place in best.items()})


HOW: Mapping[str, Callable[[TaskSet, Sequence[Scored], Member], Scored]] = {"average": average, "best_per_task": best_per_task}
"""The ways of putting members together, by the name in `--how`."""


def mean_prediction(task: Task, outputs: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of several models' predictions, such that `trainables.evaluation.decide` makes the decision of it.

    Args:
        task: what is predicted.
        outputs: raw outputs of each model: logits float32 `[num_rows, num_classes]` or `[num_rows]`, or scores `[num_rows]`.

    Returns:
        For classes the mean probability p (softmax), float64 `[num_rows, num_classes]`; for yes or no `2 p - 1`, float64
        `[num_rows]`, which like a logit is > 0 where yes is likelier; for scores their mean, float32 `[num_rows]`.

    A bare mean of scores suits Pearson's r only where all models score on one scale: r does not see a model's own scale and
    offset, but in the mean a model that spreads its scores wider counts for more.  All of ours are trained to be near the
    labels, in the labels' units.
    """
    made = np.sort([_prediction(task, np.asarray(inner, dtype=np.float64)) for inner in outputs], axis=0)
    mean: np.ndarray = made.sum(axis=0) / len(outputs)  # sorted first: a sum depends on its order in the last digit
    return mean.astype(np.float32) if task.target == "score" else mean


def _prediction(task: Task, outputs: np.ndarray) -> np.ndarray:
    if task.target == "classes":
        return softmax(outputs)
    return np.tanh(outputs / 2) if task.target == "binary" else outputs


def _best(metrics: Sequence[float]) -> int:
    return int(np.argmax([-np.inf if np.isnan(metric) else metric for metric in metrics]))


def _score_member(member: Member, place: int, tasks: TaskSet) -> Scored:
    """Loads the model and runs it; it is gone before the next one is loaded."""
    from trainables.evaluation import evaluate
    from trainables.model.files import load_model

    config, model = load_model(member.folder)
    with torch_threads(config.num_threads):
        found = {split: evaluate(model, member.store, split).outputs for split in SPLITS}
    outputs = {split: by_task for split, by_task in found.items() if by_task}
    return Scored(outputs, _metrics(tasks, outputs["dev"], member), {name: [place] for name in tasks.names})


def _metrics(tasks: TaskSet, outputs: Mapping[str, np.ndarray], reader: Member) -> dict[str, float]:
    """The metrics of predictions for dev, labels as the reader has them; by the first member's formula whoever made them."""
    from trainables.evaluation import metric

    made: dict[str, float] = {}
    for task in tasks.tasks:
        labels = reader.store.table(task.name, "dev").labels
        assert labels is not None, "dev has labels"
        made[task.metric_key] = metric(task, outputs[task.name], labels)
    return made | {"score": tasks.score_of(made), "mean_score": tasks.mean_of(made)}


def _problems_of_how(how: str) -> list[str]:
    return [] if how in HOW else [f"--how must be {' or '.join(HOW)}, but got {how!r}{nearest(how, HOW)}"]


def _write(out: Path, ensemble: Ensemble, how: str) -> None:
    from trainables.evaluation import decide

    scored, tasks, members = ensemble.together[how], ensemble.tasks, ensemble.members
    predictions: dict[Split, dict[str, np.ndarray]] = {
        split: {name: decide(tasks.by_name[name], inner) for name, inner in by_task.items()}
        for split, by_task in scored.outputs.items()
    }
    with written_whole(out) as aside:
        write_predictions(aside / PREDICTIONS, members[0].store, tasks, predictions)
        write_yaml(_made_of(ensemble, how), aside / ENSEMBLE_FILE)
        search_folder.write_json(aside / "metrics.json", _all_metrics(ensemble, how))
        (aside / "README.md").write_text(_card(out, ensemble, how), encoding="utf-8")


def _made_of(ensemble: Ensemble, how: str) -> dict[str, Any]:
    members = ensemble.members
    return {
        "how": how,
        "data": members[0].source,
        "data_hashes": members[0].store.hashes,
        "members": [{"folder": str(member.folder), "weights_sha256": member.weights} for member in members],
        "tasks": {
            name: [str(members[place].folder) for place in places] for name, places in ensemble.together[how].sources.items()
        },
    }


def _all_metrics(ensemble: Ensemble, how: str) -> dict[str, Any]:
    return {
        "how": how,
        "dev": ensemble.together[how].metrics,
        "ensembles": {name: scored.metrics for name, scored in ensemble.together.items()},
        "members": [
            {"folder": str(member.folder), "dev": scored.metrics}
            for member, scored in zip(ensemble.members, ensemble.alone, strict=True)
        ],
    }


def _card(out: Path, ensemble: Ensemble, how: str) -> str:
    folders = [str(member.folder) for member in ensemble.members]
    source = ensemble.members[0].source
    words = ["--ensemble", *folders, "--how", how, "--data", source, "--out", str(out.absolute())]
    return ensemble_card(
        ensemble.tasks,
        how=how,
        data=source,
        command=f"python -m tuner.export {' '.join(map(quote, words))}",
        rows=rows_of(ensemble),
        sources={name: [folders[place] for place in places] for name, places in ensemble.together[how].sources.items()},
        encoders=[member.config.encoder.name for member in ensemble.members],
    )


def rows_of(ensemble: Ensemble) -> list[tuple[str, Mapping[str, float]]]:
    """The table's lines: each member's folder, then each way of putting them together, with its metrics on dev."""
    members = [(str(member.folder), scored.metrics) for member, scored in zip(ensemble.members, ensemble.alone, strict=True)]
    return [*members, *((how, scored.metrics) for how, scored in ensemble.together.items())]


def table(ensemble: Ensemble) -> str:
    """The scores and the tasks' metrics on dev of members and ensembles, a line each."""
    keys = ["score", *(task.metric_key for task in ensemble.tasks.tasks)]
    rows = rows_of(ensemble)
    width = max(len(name) for name, _ in [("on dev", {}), *rows])
    lines = [[f"{'on dev':<{width}}", *keys]]
    lines += [[f"{name:<{width}}", *(f"{metrics[key]:>{len(key)}.4f}" for key in keys)] for name, metrics in rows]
    return "\n".join("  ".join(f"{cell:>6}" for cell in line) for line in lines)
