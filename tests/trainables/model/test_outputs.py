import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.config_parts import HeadConfig
from trainables.model.outputs import OUTPUTS, OutputLayer, cosine_output
from trainables.tasks import CS224N, Task

STS = CS224N.by_name["sts"]


def score_task(low: float, high: float) -> Task:
    return STS.model_copy(update={"label_range": (low, high)})


RANGES = st.tuples(st.integers(-50, 50), st.integers(1, 50)).map(lambda pair: score_task(pair[0], pair[0] + pair[1]))


@given(task=RANGES, output=st.sampled_from(list(OUTPUTS)))
def test_a_score_starts_at_the_middle_of_its_range(task: Task, output: str) -> None:
    layer = OutputLayer(4, task, HeadConfig(output=output), torch.Generator().manual_seed(0))
    middle = (task.label_low + task.label_high) / 2
    torch.testing.assert_close(layer(torch.zeros(2, 4)), torch.full((2, 1), middle))
    assert layer.bias.item() == (0 if output == "sigmoid" else middle)


@pytest.mark.parametrize("name", ["sst", "qqp"])
def test_logits_start_at_0_and_stay_as_they_are(name: str) -> None:
    layer = OutputLayer(4, CS224N.by_name[name], HeadConfig(), torch.Generator().manual_seed(0))
    assert layer.bias.abs().max() == 0
    features = torch.randn(3, 4)
    torch.testing.assert_close(layer(features), features @ layer.weight.T)


@given(raw=st.lists(st.floats(-1e3, 1e3), min_size=1), task=RANGES)
def test_each_keeps_to_its_side_of_the_range(raw: list[float], task: Task) -> None:
    values = torch.tensor(raw, dtype=torch.float64)
    assert torch.equal(OUTPUTS["identity"](values, task), values)
    cut, within = OUTPUTS["relu"](values, task), OUTPUTS["sigmoid"](values, task)
    torch.testing.assert_close(cut, values.clamp(min=task.label_low))
    assert bool(((within >= task.label_low) & (within <= task.label_high)).all())
    torch.testing.assert_close(within.sort().values, OUTPUTS["sigmoid"](values.sort().values, task))


def test_pinned_scores_on_a_range_from_1_to_3() -> None:
    task = score_task(1, 3)
    raw = torch.tensor([-4.0, 0, 1, 2, 9])
    assert OUTPUTS["relu"](raw, task).tolist() == [1, 1, 1, 2, 9]
    torch.testing.assert_close(OUTPUTS["sigmoid"](torch.tensor([0.0, math.log(3)]), task), torch.tensor([2.0, 2.5]))


def test_what_is_cut_gets_no_gradient() -> None:
    raw = torch.tensor([0.5, 1.5], requires_grad=True)
    OUTPUTS["relu"](raw, score_task(1, 3)).sum().backward()
    assert raw.grad.tolist() == [0, 1]


def test_cosines_fill_the_range_of_the_labels() -> None:
    cosines = torch.tensor([-1.0, 0, 0.5, 1])
    for output in ("identity", "relu"):
        assert cosine_output(cosines, score_task(1, 5), output).tolist() == [1, 3, 4, 5]
    expected = [5 / (1 + math.exp(-cosine)) for cosine in cosines.tolist()]
    torch.testing.assert_close(cosine_output(cosines, STS, "sigmoid"), torch.tensor(expected))
