import numpy as np
import pytest
import torch
from transformers import EvalPrediction

from benchmarks.peers.multitask_bert import TASKS, MultitaskBert, load_tokenizer, tokenised
from benchmarks.peers.plain_trial import balanced_sampler, due_steps, scores
from trainables.data.sample import make_sample
from trainables.tasks import CS224N


def test_reports_are_due_where_ours_are() -> None:
    assert due_steps(1440, 9, 16) == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert due_steps(100, 3, 16) == [3, 5, 7]  # 33, 67 and 100 examples are reached within these steps


def test_two_reports_after_one_step_are_refused() -> None:
    with pytest.raises(ValueError, match="32 examples, 3 reports, batches of 32"):
        due_steps(32, 3, 32)


def test_the_score_is_the_leaderboards() -> None:
    tasks = np.repeat([0, 1, 2], 2)
    labels = np.array([4, 0, 1, 0, 0.0, 5.0])
    outputs = np.zeros((6, 5))
    outputs[0, 4] = outputs[1, 3] = 1  # right; wrong
    outputs[2:, 0] = [2, 1, 1, 3]  # right; wrong; a perfect line
    found = scores(EvalPrediction(predictions=outputs, label_ids=(labels, tasks)))
    assert found == pytest.approx({"sst_accuracy": 0.5, "qqp_accuracy": 0.5, "sts_pearson": 1, "score": 2 / 3})


@pytest.mark.filterwarnings("ignore")  # what transformers warns of is not ours
def test_the_model_gives_outputs_in_evaluation_alone() -> None:
    assert CS224N.names == TASKS
    tokenizer = load_tokenizer("tiny")
    rows = tokenised({task: splits["train"] for task, splits in make_sample(rows_per_task=(2, 2, 0)).items()}, tokenizer)
    batch = dict(tokenizer.pad([{**row, "labels": float(row["labels"])} for row in rows], return_tensors="pt"))
    model = MultitaskBert("tiny")
    assert set(model.train()(**batch)) == {"loss"}
    with torch.inference_mode():
        found = model.eval()(**batch)
    assert found["outputs"].shape == (6, 5)
    assert not found["outputs"][2:, 1:].any()
    assert found["outputs"][:2].all()


def test_each_task_is_drawn_as_often_as_the_others_whatever_its_rows() -> None:
    tasks = np.repeat([0, 1, 2], [60, 900, 240])
    torch.manual_seed(0)
    drawn = np.bincount(tasks[list(balanced_sampler(tasks.tolist()))])
    assert drawn.sum() == 1200
    assert np.abs(drawn - 400).max() < 5 * np.sqrt(1200 * 1 / 3 * 2 / 3)  # five standard deviations
