"""What a model made of each row of a split, small enough to stand in a report: what an interval is computed from.

Of rows that are right or wrong a bit each; of scores what was predicted and what the label says.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.tasks import Task


@dataclass(frozen=True)
class Outcome:
    """What became of each row of one task.

    Attributes:
        correct: bool `[num_rows]`, of a task that is judged by accuracy; else None.
        predicted, labels: float32 `[num_rows]`, of a task that is judged by a correlation; else None.
    """

    correct: np.ndarray | None = None
    predicted: np.ndarray | None = None
    labels: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        rows = self.correct if self.correct is not None else self.predicted
        assert rows is not None
        return len(rows)

    def to_tree(self) -> dict[str, Any]:
        """As plain values: `rows`, and in base64 `correct` (eight rows a byte) or `predicted` and `labels` (little-endian)."""
        if self.correct is not None:
            return {"rows": self.num_rows, "correct": _text(np.packbits(self.correct))}
        assert self.predicted is not None
        assert self.labels is not None
        floats = {"predicted": self.predicted, "labels": self.labels}
        return {"rows": self.num_rows, **{key: _text(values.astype("<f4")) for key, values in floats.items()}}

    @classmethod
    def parse(cls, tree: Mapping[str, Any]) -> "Outcome":
        """What `to_tree` made.

        Raises:
            ValueError: it is something else.
        """
        try:
            rows = int(tree["rows"])
            if "correct" in tree:
                packed = _bytes(tree["correct"], "u1")
                outcome = cls(correct=np.unpackbits(packed)[: rows if len(packed) == -(-rows // 8) else 0].astype(bool))
            else:
                outcome = cls(predicted=_bytes(tree["predicted"], "<f4"), labels=_bytes(tree["labels"], "<f4"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the outcomes of a task's rows must stand here, but got {str(tree)[:100]}") from error
        lengths = {len(values) for values in (outcome.correct, outcome.predicted, outcome.labels) if values is not None}
        if lengths != {rows}:
            raise ValueError(f"outcomes of {rows} rows must stand here, but got {sorted(lengths)}")
        return outcome


def outcome_of(task: Task, predictions: np.ndarray, labels: np.ndarray) -> Outcome:
    """What became of each row.

    Args:
        task: how they are judged.
        predictions: classes, 0 or 1, or scores, `[num_rows]`.
        labels: float32 `[num_rows]`.
    """
    if task.metric == "pearson":
        return Outcome(predicted=predictions.astype(np.float32), labels=labels.astype(np.float32))
    return Outcome(correct=predictions == labels)


def _text(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _bytes(text: str, kind: str) -> np.ndarray:
    values: np.ndarray = np.frombuffer(base64.b64decode(text, validate=True), dtype=kind)
    return values
