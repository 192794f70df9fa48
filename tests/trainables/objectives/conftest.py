"""The tiny encoder's model with the objective of a config, and a batch of each task."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.model.multitask import MultitaskModel
from trainables.objectives.objective import Objective


@pytest.fixture(scope="session")
def build() -> Callable[..., tuple[MultitaskModel, Objective]]:
    """`build(**options)`: of the default config with these options; the model's weights are the same each time."""

    def make(**options: Any) -> tuple[MultitaskModel, Objective]:
        config = TrialConfig().override({"encoder.name": "tiny", **options})
        model = MultitaskModel(config, find_encoder("tiny"), torch.Generator().manual_seed(0))
        return model, Objective(config.objective)

    return make


@pytest.fixture
def batches(make_batch: Callable[..., Any]) -> list[Any]:
    return [make_batch("sst", [4, 9, 2]), make_batch("qqp", [30, 3]), make_batch("sts", [7, 7])]
