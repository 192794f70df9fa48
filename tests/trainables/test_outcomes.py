import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.outcomes import Outcome, outcome_of
from trainables.tasks import QQP, SST, STS


@given(st.lists(st.booleans(), max_size=70))
def test_right_and_wrong_come_back_as_they_were(correct):
    outcome = Outcome(correct=np.array(correct, dtype=bool))
    again = Outcome.parse(json.loads(json.dumps(outcome.to_tree())))
    assert again.correct.tolist() == correct
    assert again.num_rows == len(correct)
    assert again.predicted is None


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=30))
def test_scores_come_back_bit_for_bit(values):
    outcome = Outcome(predicted=np.array(values, np.float32), labels=np.array(values[::-1], np.float32))
    again = Outcome.parse(json.loads(json.dumps(outcome.to_tree())))
    assert again.predicted.tobytes() == outcome.predicted.tobytes()
    assert again.labels.tobytes() == outcome.labels.tobytes()


def test_how_a_task_is_judged_decides_what_is_kept():
    labels = np.array([0, 1, 1], np.float32)
    assert outcome_of(SST, np.array([0, 1, 4]), labels).correct.tolist() == [True, True, False]
    assert outcome_of(QQP, np.array([1, 1, 0]), labels).correct.tolist() == [False, True, False]
    scores = outcome_of(STS, np.array([0.5, 2.5, 4.0], np.float32), labels)
    assert (scores.predicted.tolist(), scores.labels.tolist()) == ([0.5, 2.5, 4.0], [0.0, 1.0, 1.0])


def test_sixteen_thousand_rows_take_less_than_three_kilobytes():
    assert len(json.dumps(Outcome(correct=np.ones(16_000, dtype=bool)).to_tree())) < 3_000


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"rows": 3},
        {"rows": 9, "correct": "AA=="},
        {"rows": 1, "correct": "%%"},
        {"rows": "x", "correct": "AA=="},
        {"rows": 2, "predicted": "AAAAAA==", "labels": "AAAAAA=="},
        {"rows": 1, "predicted": "AAAAAA=="},
        {"rows": -1, "correct": "AA=="},
        {"rows": 1, "correct": 5},
    ],
)
def test_anything_else_is_refused(tree):
    with pytest.raises(ValueError, match="outcomes of"):
        Outcome.parse(tree)
