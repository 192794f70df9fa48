"""Predictions of a split and how good they are."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from trainables.data.batching import evaluation_batches
from trainables.data.confirm_part import merged
from trainables.data.frozen_states import FrozenTable
from trainables.data.resident import ResidentTable, ResidentTokens
from trainables.data.rows import Split
from trainables.data.tokens import TokenStore, TokenTable
from trainables.model.multitask import MultitaskModel
from trainables.tasks import Task, TaskSet

MAX_TOKENS_PER_BATCH = 1024
_PART_SEED = 20_130_913


@dataclass(frozen=True)
class Evaluation:
    """What a model predicts for a split, or for part of it; rows in the order of the source.

    Attributes:
        outputs: for each task float32, `[num_rows, num_classes]` or `[num_rows]`: logits, or scores.
        predictions: for each task int64 classes, int64 0 or 1, or float32 scores (not clipped), `[num_rows]`.
        metrics: each task's, such as `sst_accuracy`; `score` and `mean_score`; empty where the split has no labels.
        labels: of each task that has some, float32 `[num_rows]`.
    """

    outputs: dict[str, np.ndarray]
    predictions: dict[str, np.ndarray]
    metrics: dict[str, float]
    labels: dict[str, np.ndarray]


def evaluate(
    model: MultitaskModel,
    store: TokenStore,
    split: Split = "dev",
    *,
    share: float = 1.0,
    frozen: Mapping[str, FrozenTable] | None = None,
    resident: ResidentTokens | None = None,
) -> Evaluation:
    """Runs the model over a split, without dropout, and scores it where all tasks have labels.

    Args:
        model: of the trial.
        store: tokens of all splits.
        split: what to run over.
        share: how much of it: a part that is the same in every call (see `stratified_part`).
        frozen: of each task what the encoder's first layers give for the split's rows; None: all is computed.
        resident: the store where the model computes; None: tokens are read from memory.

    Raises:
        ValueError: part of a split without labels.
    """
    tasks = model.config.tasks
    outputs, labels = {}, {}
    for name, task in tasks.by_name.items():
        if not store.has(name, split):
            continue
        table = store.table(name, split)
        rows = np.arange(table.num_rows) if share == 1 else stratified_part(table.labels, share)
        on_device = resident.table(name, split) if resident else None
        outputs[name] = predict(model, table, task, rows, frozen=(frozen or {}).get(name), resident=on_device)
        if table.labels is not None:
            labels[name] = table.labels[rows]
    return _judged(tasks, outputs, labels)


def joined(tasks: TaskSet, search: Evaluation, confirm: Evaluation, places: Mapping[str, np.ndarray]) -> Evaluation:
    """All of dev, in the order of the source, of its two parts.

    Args:
        tasks: of the model.
        search: of the rows that trials are scored on.
        confirm: of those that are kept.
        places: task -> where the latter stood.
    """
    outputs, labels = (
        {name: merged(inner, getattr(confirm, what)[name], places[name]) for name, inner in getattr(search, what).items()}
        for what in ("outputs", "labels")
    )
    return _judged(tasks, outputs, labels)


def _judged(tasks: TaskSet, outputs: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> Evaluation:
    by_name = tasks.by_name
    metrics = {by_name[name].metric_key: metric(by_name[name], outputs[name], inner) for name, inner in labels.items()}
    if len(metrics) == len(tasks.tasks):
        metrics |= {"score": tasks.score_of(metrics), "mean_score": tasks.mean_of(metrics)}
    return Evaluation(outputs, {name: decide(by_name[name], inner) for name, inner in outputs.items()}, metrics, labels)


def stratified_part(labels: np.ndarray | None, share: float) -> np.ndarray:
    """Row numbers, ascending, of a fixed part of a labelled split: every label as often as its share of the rows says.

    The rows are put in order of their labels, equal ones in an order drawn once and for all, and every `1 / share`-th is taken;
    so a real-valued label is spread as evenly as a class.  At least two rows, that there is something to correlate.

    Raises:
        ValueError: the split has no labels.
    """
    if labels is None:
        raise ValueError("part of a split can be taken by its labels alone, but it has none")
    drawn = np.random.default_rng(_PART_SEED).permutation(len(labels))
    ordered = drawn[np.argsort(labels[drawn], kind="stable")]
    num_rows = min(len(labels), max(2, round(share * len(labels))))
    middles = (np.arange(num_rows) + 0.5) * len(labels) / max(1, num_rows)
    part: np.ndarray = np.sort(ordered[middles.astype(np.int64)])
    return part


@torch.inference_mode()
def predict(
    model: MultitaskModel,
    table: TokenTable,
    task: Task,
    rows: np.ndarray,
    *,
    frozen: FrozenTable | None = None,
    resident: ResidentTable | None = None,
) -> np.ndarray:
    """The model's raw outputs for some rows of a table, float32 `[num_rows, num_classes]` or `[num_rows]`, in their order."""
    shape = (table.num_rows, task.num_outputs) if task.target == "classes" else (table.num_rows,)
    outputs = np.empty(shape, dtype=np.float32)
    batches = evaluation_batches(
        table,
        task=task,
        pair_encoding=model.config.encoder.pair_encoding,
        max_tokens_per_batch=MAX_TOKENS_PER_BATCH,
        rows=rows,
        frozen=frozen,
        resident=resident,
    )
    for numbers, batch in batches:
        outputs[numbers] = model([batch], generator=None)[task.name].cpu().numpy()
    wanted: np.ndarray = outputs[rows]
    return wanted


def decide(task: Task, outputs: np.ndarray) -> np.ndarray:
    """Predictions from raw outputs: the likeliest class, yes where the logit is > 0, the score itself."""
    if task.target == "classes":
        classes: np.ndarray = outputs.argmax(axis=1)
        return classes
    return np.where(outputs > 0, 1, 0) if task.target == "binary" else outputs


def metric(task: Task, outputs: np.ndarray, labels: np.ndarray) -> float:
    """The task's metric; NaN where an output is not finite, so that a broken model never looks good."""
    if not np.isfinite(outputs).all():
        return float("nan")
    if task.metric == "pearson":
        return pearson(outputs, labels)
    return float((decide(task, outputs) == labels).mean())


def pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Pearson's correlation in [-1, 1], in float64; 0.0 where either side is constant."""
    x, y = (np.asarray(side, dtype=np.float64) for side in (predictions, labels))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    # Each side divided by its norm first: the product of two tiny variances would underflow.
    return float(np.clip((x / np.linalg.norm(x)) @ (y / np.linalg.norm(y)), -1, 1))
