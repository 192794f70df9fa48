"""CS224N's prediction files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainables.data.rows import Split
from trainables.data.tokens import TokenStore
from trainables.tasks import Task, TaskSet


def write_predictions(
    folder: Path, store: TokenStore, tasks: TaskSet, predictions: Mapping[Split, Mapping[str, np.ndarray]]
) -> None:
    """Writes CS224N's prediction files: `sst-dev-output.csv`, `para-test-output.csv`, and so on.

    A header line (`id`, tab, `Predicted_Sentiment`), then `{id} , {prediction} ` a row, in the order of the source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, by_task in predictions.items():
        for name, values in by_task.items():
            task = tasks.by_name[name]
            text = prediction_file(task, store.table(name, split).ids, values)
            (folder / f"{task.prediction_name}-{split}-output.csv").write_text(text, encoding="utf-8")


def prediction_file(task: Task, ids: list[str], values: np.ndarray) -> str:
    """The text of one prediction file; classes as whole numbers, paraphrases as 0.0 and 1.0, similarities as they are."""
    numbers = values.tolist() if task.target == "classes" else [float(value) for value in values]
    rows = (f"{row_id} , {number} \n" for row_id, number in zip(ids, numbers, strict=True))
    return f"id \t {task.prediction_header} \n" + "".join(rows)
