import numpy as np
import torch

from trainables.model.encoder import _hidden
from trainables.model.pooling import POOLINGS

LENGTHS = np.array([3, 1, 4])
STATES = torch.arange(16.0).view(8, 2)


def test_cls_is_each_first_token() -> None:
    assert POOLINGS["cls"](_hidden(STATES, LENGTHS)).tolist() == [[0, 1], [6, 7], [8, 9]]


def test_mean_is_over_each_sequence_alone() -> None:
    assert POOLINGS["mean"](_hidden(STATES, LENGTHS)).tolist() == [[2, 3], [6, 7], [11, 12]]


def test_both_agree_on_sequences_of_one_token() -> None:
    hidden = _hidden(STATES, np.ones(8, dtype=np.int64))
    assert torch.equal(POOLINGS["cls"](hidden), POOLINGS["mean"](hidden))
