import json

import numpy as np
import pytest

from trainables.predictions import describe_predictions, in_words, json_lines, prediction_file, softmax
from trainables.tasks import CS224N, SST, STS, Task

FRUIT = Task(
    name="fruit",
    title="Fruit",
    sentence_columns=("text",),
    label_column="kind",
    target="classes",
    num_classes=3,
    metric="accuracy",
    file_stem="fruit",
)


@pytest.mark.parametrize(
    ("task", "values", "text"),
    [
        ("sst", np.array([3, 0]), "id \t Predicted_Sentiment \nx , 3 \ny , 0 \n"),
        ("qqp", np.array([1, 0]), "id \t Predicted_Is_Paraphrase \nx , 1.0 \ny , 0.0 \n"),
        ("sts", np.array([0.5, 4.25], dtype=np.float32), "id \t Predicted_Similiary \nx , 0.5 \ny , 4.25 \n"),
    ],
)
def test_a_file_is_what_cs224n_hands_in(task: str, values: np.ndarray, text: str) -> None:
    assert prediction_file(CS224N.by_name[task], ["x", "y"], values) == text


def test_a_value_for_each_id() -> None:
    with pytest.raises(ValueError, match="zip"):
        prediction_file(CS224N.by_name["sst"], ["x", "y"], np.array([1]))


def test_softmax_is_of_rows_and_does_not_overflow() -> None:
    np.testing.assert_allclose(softmax(np.log([[1.0, 3.0], [2.0, 2.0]])), [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_array_equal(softmax(np.array([[1e30, -1e30]])), [[1, 0]])


def test_probabilities_are_those_of_the_logits_and_scores_are_not_clipped() -> None:
    sst, qqp, sts = CS224N.tasks
    logits = np.log(np.array([[0.1, 0.1, 0.1, 0.6, 0.1]], dtype=np.float32))
    [told] = describe_predictions(sst, logits, np.array([3]))
    assert told.pop("probabilities") == pytest.approx([0.1, 0.1, 0.1, 0.6, 0.1], abs=1e-6)
    assert told == {"task": "sst", "prediction": 3, "name": "somewhat_positive_sentiment"}
    yes, no = describe_predictions(qqp, np.log(np.array([3.0, 1 / 3], dtype=np.float32)), np.array([1, 0]))
    assert (yes["name"], no["name"], yes["prediction"]) == ("yes", "no", 1)
    assert (yes["probability"], no["probability"]) == (pytest.approx(0.75), pytest.approx(0.25))
    score = np.array([5.5], dtype=np.float32)
    assert describe_predictions(sts, score, score) == [{"task": "sts", "prediction": 5.5, "range": [0, 5]}]


@pytest.mark.parametrize(
    ("task", "outputs", "decided", "words"),
    [
        (
            SST,
            np.zeros((1, 5)),
            np.array([0]),
            "prediction: 0 (negative sentiment)\nprobabilities: 0 0.2000, 1 0.2000, 2 0.2000, 3 0.2000, 4 0.2000",
        ),
        (FRUIT, np.zeros((1, 3)), np.array([2]), "prediction: 2\nprobabilities: 0 0.3333, 1 0.3333, 2 0.3333"),
        (CS224N.by_name["qqp"], np.zeros(1), np.array([0]), "prediction: no\nprobability: 0.5000"),
        (STS, np.array([-0.25]), np.array([-0.25]), "prediction: -0.2500 (labels go from 0 to 5)"),
    ],
)
def test_words(task: Task, outputs: np.ndarray, decided: np.ndarray, words: str) -> None:
    assert in_words(task, describe_predictions(task, outputs, decided)[0]) == words


def test_json_is_an_object_a_line() -> None:
    told = describe_predictions(STS, np.array([1.5, 2.0]), np.array([1.5, 2.0]))
    assert [json.loads(line)["id"] for line in json_lines(told, ["é", "b\n"]).splitlines()] == ["é", "b\n"]
    assert json.loads(json_lines(told[:1])) == {"task": "sts", "prediction": 1.5, "range": [0, 5]}
