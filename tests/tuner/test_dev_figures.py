import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.tasks import CS224N
from tuner.dev_figures import confusion, dev_figures, worst_errors

METRICS = {"score": 0.6, "mean_score": 0.5, "sst_accuracy": 0.25, "qqp_accuracy": 0.75, "sts_pearson": 0.9}
LABELS = {
    "sst": np.array([0, 4, 4, 2], dtype=np.float32),
    "qqp": np.array([0, 1, 1, 1], dtype=np.float32),
    "sts": np.array([0, 2.5, 5], dtype=np.float32),
}
PREDICTIONS = {"sst": np.array([1, 4, 3, 1]), "qqp": np.array([0, 1, 0, 1]), "sts": np.array([-1, 2.5, 4.5], dtype=np.float32)}


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30))
def test_each_row_is_counted_once_in_its_cell(rows: list[tuple[int, int]]) -> None:
    labels, predictions = (np.array([row[side] for row in rows]) for side in (0, 1))
    counts = confusion(labels, predictions, 5)
    assert counts.sum() == len(rows)
    assert all(counts[true, made] == rows.count((true, made)) for true in range(5) for made in range(5))


def test_figures_are_plain_numbers_with_a_matrix_for_classes_and_for_yes_or_no() -> None:
    figures = dev_figures(CS224N, LABELS, PREDICTIONS, METRICS)
    assert json.loads(json.dumps(figures)) == figures
    assert (figures["score"], figures["mean_score"]) == (0.6, 0.5)
    sst, qqp, sts = figures["tasks"].values()
    assert (sst["rows"], sst["accuracy"]) == (4, 0.25)
    assert sst["confusion"] == [[0, 1, 0, 0, 0], [0] * 5, [0, 1, 0, 0, 0], [0] * 5, [0, 0, 0, 1, 1]]
    assert qqp == {"rows": 4, "accuracy": 0.75, "confusion": [[1, 0], [1, 2]]}
    assert sts == {"rows": 3, "pearson": 0.9, "mean_absolute_error": pytest.approx(0.5)}


def test_the_worst_errors_are_those_that_the_model_is_surest_of() -> None:
    labels, logits = np.array([0, 1, 1, 0, 1], dtype=np.float32), np.array([2.0, -3.0, 4.0, -1.0, 0.0], dtype=np.float32)
    found = worst_errors(list("abcde"), labels, logits)
    assert [(row["id"], row["label"]) for row in found] == [("b", 1), ("a", 0), ("e", 1)]
    assert [row["probability"] for row in found] == [pytest.approx(1 / (1 + np.exp(3))), pytest.approx(1 / (1 + np.exp(-2))), 0.5]
    assert json.loads(json.dumps(found)) == found
    assert worst_errors(list("abcde"), labels, logits, count=1) == found[:1]
