import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.objectives.contrastive import contrastive_loss
from trainables.tasks import CS224N, Task

QQP, STS = CS224N.by_name["qqp"], CS224N.by_name["sts"]


def pair(*cosines: float) -> torch.Tensor:
    """Pairs of plane vectors of these cosines and of different lengths: all first ones, then all second ones."""
    first = torch.tensor([[3.0, 0.0]] * len(cosines), dtype=torch.double)
    second = torch.tensor([[cosine, math.sqrt(1 - cosine**2)] for cosine in cosines], dtype=torch.double) * 0.5
    return torch.cat([first, second])


def loss(task: Task, cosines: list[float], labels: list[float], margin: float = 0.5) -> list[float]:
    return contrastive_loss(pair(*cosines), torch.tensor(labels, dtype=torch.double), task=task, margin=margin).tolist()


def test_pinned_yes_or_no() -> None:
    """d = 0, 0.2, 0.2, 0.8; the last is further apart than the margin asks for."""
    out = loss(QQP, [1.0, 0.8, 0.8, 0.2], [1, 1, 0, 0])
    assert out == pytest.approx([0.0, 0.5 * 0.04, 0.5 * 0.09, 0.0], abs=1e-9)
    assert loss(QQP, [0.2], [0], margin=1.0) == pytest.approx([0.5 * 0.04])


def test_pinned_scores() -> None:
    """d = 0.2: targets of d^2 are (5 - y) / 20 = 0 for 5, 0.125 for 2.5, 0.25 for 0."""
    assert loss(STS, [0.8] * 3, [5.0, 2.5, 0.0]) == pytest.approx([0.04, 0.085, 0.21])
    assert loss(STS, [1.0, 0.5], [5.0, 0.0]) == pytest.approx([0.0, 0.0], abs=1e-9)
    assert loss(STS, [0.0], [0.0], margin=1.0) == pytest.approx([0.0], abs=1e-9)


def test_scores_are_read_in_the_range_of_their_task() -> None:
    other = STS.model_copy(update={"label_range": (-1.0, 3.0)})
    assert loss(other, [0.8] * 3, [3.0, 1.0, -1.0]) == loss(STS, [0.8] * 3, [5.0, 2.5, 0.0])


@pytest.mark.parametrize(
    ("task", "label", "cosine", "attracts"),
    [
        (QQP, 1.0, 0.6, True),
        (QQP, 0.0, 0.6, False),
        (QQP, 0.0, 0.4, None),  # beyond the margin: left alone
        (STS, 5.0, 0.9, True),
        (STS, 0.0, 0.9, False),
        (STS, 0.0, 0.1, True),  # further apart than unrelated sentences are to be
    ],
)
def test_sentences_of_one_meaning_attract_and_others_repel(
    task: Task, label: float, cosine: float, attracts: bool | None
) -> None:
    sentences = pair(cosine).requires_grad_()
    contrastive_loss(sentences, torch.tensor([label], dtype=torch.double), task=task, margin=0.5).sum().backward()
    with torch.no_grad():
        first, second = (sentences - 1e-3 * sentences.grad).chunk(2)
    change = torch.cosine_similarity(first, second).item() - cosine
    assert abs(change) < 1e-12 if attracts is None else change * (1 if attracts else -1) > 1e-6


@pytest.mark.parametrize("task", [QQP, STS])
@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), min_size=1, max_size=5), st.floats(0, 2))
def test_it_is_finite_at_least_0_and_one_a_pair(task: Task, pairs: list[tuple[float, float]], margin: float) -> None:
    sentences = pair(*(cosine for cosine, _ in pairs)).requires_grad_()
    labels = torch.tensor([share for _, share in pairs], dtype=torch.double) * task.label_high
    out = contrastive_loss(sentences, labels.round() if task is QQP else labels, task=task, margin=margin)
    assert out.shape == (len(pairs),)
    assert (out >= 0).all()
    out.sum().backward()
    assert torch.isfinite(sentences.grad).all()


def test_it_does_not_change_with_the_length_of_a_vector() -> None:
    labels = torch.tensor([1.0, 0.0], dtype=torch.double)
    sentences = pair(0.7, 0.9)
    scaled = sentences * torch.tensor([[0.1], [2.0], [5.0], [1.0]], dtype=torch.double)
    torch.testing.assert_close(*(contrastive_loss(x, labels, task=QQP, margin=0.5) for x in (sentences, scaled)))
