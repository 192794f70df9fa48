"""Torch's layers with weights that are not filled yet.

Their own initialisation would draw from torch's global generator for weights that are loaded over at once; and to build them
on torch's `meta` device instead imports its compiler: 2 seconds in each worker.
"""

from torch import nn


class Linear(nn.Linear):
    """`torch.nn.Linear`, unfilled."""

    def reset_parameters(self) -> None:
        """Nothing."""


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm`, unfilled."""

    def reset_parameters(self) -> None:
        """Nothing."""


class Embedding(nn.Embedding):
    """`torch.nn.Embedding`, unfilled."""

    def reset_parameters(self) -> None:
        """Nothing."""
