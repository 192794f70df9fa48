"""What reading a source gives: rows, the rows left out, and where all of it came from."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

Split = Literal["train", "dev", "confirm", "test"]
_SUBSET_SEED = 20_160_612


class DataError(ValueError):
    """One or more mistakes in the data; `problems` holds a sentence for each, `str()` all of them."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Rows:
    """The rows of one split of one task.

    Attributes:
        ids: one name a row, as predictions are handed in under it.
        sentences: one list for each sentence column of the task, each as long as `ids`.
        labels: float32 `[num_rows]`, or None where the split has none (test).
    """

    ids: list[str]
    sentences: tuple[list[str], ...]
    labels: np.ndarray | None

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self.ids)


@dataclass(frozen=True)
class LeftOut:
    """A row that is not used.

    Attributes:
        file: name of the file.
        line: line on which the row starts, the header being line 1.
        column: the column at fault; several are joined by `, `.
        why: what is wrong with it.
    """

    file: str
    line: int
    column: str
    why: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}, column {self.column}: {self.why}"


@dataclass(frozen=True)
class DataSet:
    """All rows of a source.

    Attributes:
        splits: task name -> `train`, `dev` and, where there is one, `test` -> rows; `confirm`, where part of dev is kept for it.
        left_out: the rows that are not used, by file and line.
        rows_read: file name -> rows in it; always rows used + rows left out.
        hashes: file name -> sha256 of the raw file, in hex.
        folder: where the files lie, or None for the sample corpus.
        confirm_places: task name -> numbers of the rows of the whole dev split that are in `confirm`, int64 ascending.
    """

    splits: dict[str, dict[Split, Rows]]
    left_out: list[LeftOut]
    rows_read: dict[str, int]
    hashes: dict[str, str]
    folder: Path | None
    confirm_places: dict[str, np.ndarray] = field(default_factory=dict)


def training_rows(num_rows: int, share: float, copies: int = 0) -> np.ndarray:
    """Row numbers, int64 ascending, of a fixed part of a training split; a smaller part lies inside each larger one.

    Of `studentbert` 5.1's SMALL, 32,000 of Quora's 283,010 rows, the share is 0.113.

    Args:
        num_rows: of the split, changed copies included.
        share: of its original rows, which are the same ones whether there are copies or not.
        copies: changed copies of each original (`data.eda.copies`), which stand behind all originals; they come with theirs.
    """
    originals = num_rows // (1 + copies)
    drawn = np.random.default_rng(_SUBSET_SEED).permutation(originals)
    chosen = np.sort(drawn[: math.ceil(share * originals)])
    return np.concatenate([chosen, (originals + chosen[:, None] * copies + np.arange(copies)).ravel()])
