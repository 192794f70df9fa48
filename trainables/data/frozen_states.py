"""What layers that stand still give for the rows of a table, and for those of a batch (`trainables.frozen` computes it)."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class FrozenStates:
    """The outputs of an encoder's first layers for one batch, instead of which the encoder would compute them.

    Attributes:
        values: float32 `[total_tokens, hidden]`; `[num_sequences, hidden]` where they are pooled.
        num_layers: that they have passed.
        pooled: whether there is one of each sequence, the sentence vector; then all layers are passed.
    """

    values: torch.Tensor
    num_layers: int
    pooled: bool


@dataclass(frozen=True)
class FrozenTable:
    """The same for rows of a token table: a view into a memory map.

    Of each row stand there its tokens' states, in their order, or the vectors of its one or two sentences.

    Attributes:
        values: float32 `[num_states, hidden]`.
        first: int64 `[num_rows]` of the token table, place of the row's first state; nothing is there of rows that were left out.
        num_layers: that the states have passed.
        pooled: whether there is one of each sequence.
    """

    values: np.ndarray
    first: np.ndarray
    num_layers: int
    pooled: bool

    def take(self, rows: np.ndarray, places: np.ndarray) -> FrozenStates:
        """Those of a batch.

        Args:
            rows: int64, the row of each state.
            places: int64, which of its row's states that is.
        """
        index = self.first[rows] + places
        return FrozenStates(torch.from_numpy(self.values[index]), self.num_layers, self.pooled)
