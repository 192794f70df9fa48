import numpy as np
import pytest

from trainables.tasks import CS224N
from tuner.predictions import prediction_file


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
