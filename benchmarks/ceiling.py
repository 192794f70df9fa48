"""What the machine could do: the matrix products of a training step alone, in the shapes they have there."""

import time
from collections.abc import Iterator

import torch

from benchmarks.workload import Workload
from trainables.config_parts import DataConfig, EncoderConfig
from trainables.data.tokens import tokenise
from trainables.encoder_files import find_encoder


class MatrixProducts:
    """Forward and backward products of the encoder's linear layers over a batch of mean size, the last layer's on [CLS] alone."""

    def __init__(self, workload: Workload) -> None:
        torch.set_num_threads(workload.num_threads)
        self.workload = workload
        config = find_encoder("packaged").config
        tables = tokenise(DataConfig(source=workload.source), EncoderConfig()).tables
        means = [table.sequence_lengths.mean() for (_, split), table in tables.items() if split == "train"]
        self.tokens = round(workload.batch_size * sum(means) / len(means))
        shapes = _shapes(config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"])
        self.products = [
            (torch.randn(rows, wide), torch.randn(out, wide), torch.randn(rows, out))
            for rows, wide, out in ((workload.batch_size if on_cls else self.tokens, wide, out) for on_cls, wide, out in shapes)
        ]

    def run(self) -> tuple[float, float]:
        """One turn: tokens whose products were computed, seconds."""
        started = time.perf_counter()
        for _ in range(self.workload.num_steps):
            for inputs, weight, gradient in self.products:
                inputs @ weight.t()
                gradient @ weight
                gradient.t() @ inputs
        return self.tokens * self.workload.num_steps, time.perf_counter() - started


def _shapes(width: int, inner: int, num_layers: int) -> Iterator[tuple[bool, int, int]]:
    """Of each linear layer whether it sees [CLS] alone, its inputs and its outputs."""
    for layer in range(num_layers):
        last = layer + 1 == num_layers
        yield from [(False, width, width)] * 3
        yield from [(last, width, width), (last, width, inner), (last, inner, width)]
