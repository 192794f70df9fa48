"""What a model gets right and wrong on dev, as plain numbers for `metrics.json` and the card."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.tasks import Task, TaskSet


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
