"""An export as a test wants it, without a model."""

import json
from pathlib import Path
from typing import Any

from trainables.config_parts import DataConfig
from trainables.data.reading import read_dev
from trainables.predictions import prediction_file
from trainables.tasks import QQP, STS

SST_FIGURES = {"rows": 4, "accuracy": 0.75, "confusion": [[1, 0, 0, 0, 0], [0] * 5, [1, 0, 1, 0, 0], [0] * 5, [0, 0, 0, 0, 1]]}
WORST = [{"id": "q2", "label": 1, "probability": 0.01}, {"id": "q1", "label": 0, "probability": 0.9}]
SAMPLE = DataConfig()
SAMPLE_HASHES = {"sample": read_dev(SAMPLE, QQP)[2]}


def an_export(folder: Path, *, worst: Any = WORST, wanted: DataConfig = SAMPLE, trial: int = 7) -> Path:
    """Writes `best/` of a search: its predictions are wrong for every row of `wanted`, its figures are made up."""
    best = folder / "best"
    (best / "predictions").mkdir(parents=True)
    qqp = {"rows": 3, "accuracy": 0.3, "confusion": [[1, 1], [1, 0]], **({} if worst is None else {"worst": worst})}
    tasks = {"sst": SST_FIGURES, "qqp": qqp, "sts": {"rows": 2, "pearson": 0.9, "mean_absolute_error": 0.2}}
    (best / "metrics.json").write_text(json.dumps({"trial": trial, "dev": {"tasks": tasks}}))
    for task in (QQP, STS):
        rows, _, _ = read_dev(wanted, task)
        assert rows.labels is not None
        values = 1 - rows.labels if task == QQP else rows.labels + 1
        (best / f"predictions/{task.prediction_name}-dev-output.csv").write_text(prediction_file(task, rows.ids, values))
    return folder
