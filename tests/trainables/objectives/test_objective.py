from collections.abc import Callable
from typing import Any

import torch

from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.model.multitask import MultitaskModel
from trainables.objectives.losses import LOSSES
from trainables.objectives.objective import Objective


def test_it_is_each_batchs_mean_loss(make_batch: Callable[..., Any]) -> None:
    config = TrialConfig().override({"encoder.name": "tiny"})
    model = MultitaskModel(config, find_encoder("tiny"), torch.Generator().manual_seed(0))
    batches = [make_batch("sst", [4, 9, 2]), make_batch("sts", [7, 7])]
    losses = Objective(config.objective)(model, batches, masks=None, noise=torch.Generator())
    predictions = model(batches, generator=None)
    assert list(losses) == ["sst", "sts"]
    for batch in batches:
        expected = LOSSES[batch.task.target](predictions[batch.task.name], batch.labels).mean()
        torch.testing.assert_close(losses[batch.task.name], expected)
