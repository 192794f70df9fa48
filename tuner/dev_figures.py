"""What a model gets right and wrong on dev, as plain numbers for `metrics.json` and the card."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainables.tasks import Task, TaskSet

NUM_WORST = 20
"""Errors whose rows are named: of a task of yes or no, those that the model is surest of."""


def dev_figures(
    tasks: TaskSet, labels: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray], metrics: Mapping[str, float]
) -> dict[str, Any]:
    """The figures of all of dev.

    Args:
        tasks: of the model.
        labels: of each task, float `[num_rows]`.
        predictions: of each task, as `trainables.evaluation.decide` makes them, `[num_rows]`.
        metrics: of each task, `score` and `mean_score`.

    Returns:
        `score`, `mean_score`, and in `tasks` for each one its `rows`, its metric (`accuracy` or `pearson`), and for classes and
        yes or no `confusion`, counts by true label (row) and prediction (column); for scores `mean_absolute_error`, in the unit
        of the labels.
    """
    figures = {
        task.name: {
            "rows": len(labels[task.name]),
            task.metric: metrics[task.metric_key],
            **_errors(task, labels[task.name], predictions[task.name]),
        }
        for task in tasks.tasks
    }
    return {"score": metrics["score"], "mean_score": metrics["mean_score"], "tasks": figures}


def _errors(task: Task, labels: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    if task.target == "score":
        difference = predictions.astype(np.float64) - labels.astype(np.float64)
        return {"mean_absolute_error": float(np.abs(difference).mean())}
    return {"confusion": confusion(labels, predictions, int(task.label_high) + 1).tolist()}


def worst_errors(ids: Sequence[str], labels: np.ndarray, logits: np.ndarray, count: int = NUM_WORST) -> list[dict[str, Any]]:
    """The rows of a task of yes or no that a model gets wrong and is surest of: `id`, `label`, `probability` of yes.

    Args:
        ids: of the rows.
        labels: 0 or 1, `[num_rows]`.
        logits: `[num_rows]`; yes where they are > 0.
        count: at most so many.
    """
    sure = np.where((logits > 0) != (labels > 0), np.abs(logits.astype(np.float64)), -1.0)
    rows = [row for row in np.argsort(-sure, kind="stable")[:count].tolist() if sure[row] >= 0]
    chances = (1 + np.tanh(logits.astype(np.float64) / 2)) / 2
    return [{"id": ids[row], "label": int(labels[row]), "probability": float(chances[row])} for row in rows]


def confusion(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts, int64 `[num_classes, num_classes]`: row is the true label, column what was predicted.

    Args:
        labels: whole numbers from 0 to `num_classes - 1`, `[num_rows]`.
        predictions: likewise.
        num_classes: 2 for yes or no.
    """
    cells = labels.astype(np.int64) * num_classes + predictions.astype(np.int64)
    counts: np.ndarray = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    return counts
