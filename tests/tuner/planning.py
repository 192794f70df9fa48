"""Small files of the three tasks, and searches that have begun on them."""

import csv
from pathlib import Path
from typing import Any

import pytest

from trainables.parts import ConfigError
from tuner.ledger import Ledger
from tuner.search_plan import SearchPlan

TINY = "encoder.name=tiny"
ROWS = {"train": 12, "dev": 5}


def write_task(folder: Path, task: Any, num_rows: dict[str, int] = ROWS) -> None:
    for split, count in num_rows.items():
        with (folder / f"{task.file_stem}-{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            writer.writerow(["id", *task.sentence_columns, task.label_column])
            writer.writerows([f"{split}{i}", *(f"film {i}" for _ in task.sentence_columns), i % 2] for i in range(count))


def begin(tmp_path: Path, plan: SearchPlan) -> Path:
    """A search that has begun."""
    folder = tmp_path / "search"
    folder.mkdir()
    Ledger.create(folder, plan.header())
    return folder


def problems_of(make: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make()
    return caught.value.problems
