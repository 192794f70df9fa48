"""CS224N's prediction files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainables.data.rows import Split
from trainables.data.tokens import TokenStore
from trainables.predictions import prediction_file
from trainables.tasks import TaskSet


def write_predictions(
    folder: Path, store: TokenStore, tasks: TaskSet, predictions: Mapping[Split, Mapping[str, np.ndarray]]
) -> None:
    """Writes CS224N's prediction files: `sst-dev-output.csv`, `para-test-output.csv`, and so on.

    Those of dev hold all of it: predictions of both its parts, in the source's order, where part of it is kept to confirm.

    A header line (`id`, tab, `Predicted_Sentiment`), then `{id} , {prediction} ` a row, in the order of the source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, by_task in predictions.items():
        for name, values in by_task.items():
            task = tasks.by_name[name]
            text = prediction_file(task, store.ids(name, split), values)
            (folder / f"{task.prediction_name}-{split}-output.csv").write_text(text, encoding="utf-8")
