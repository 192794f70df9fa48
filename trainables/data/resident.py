"""Tokens of a whole source where the model computes: on an accelerator a step sends row numbers there, and no tokens."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.data.rows import Split
from trainables.data.tokens import TokenStore, TokenTable


@dataclass(frozen=True)
class ResidentTable:
    """What a batch takes of one table.

    Attributes:
        tokens: int32 `[total_tokens]`, all rows laid end to end.
        labels: float32 `[num_rows]`, or None.
    """

    tokens: Tensor
    labels: Tensor | None

    @classmethod
    def of(cls, table: TokenTable, device: torch.device) -> "ResidentTable":
        """A copy of a table's tokens and labels on a device."""
        tokens = torch.from_numpy(table.tokens.astype(np.int32)).to(device)
        return cls(tokens, None if table.labels is None else torch.from_numpy(np.array(table.labels)).to(device))

    def take(self, starts: np.ndarray, lengths: np.ndarray, first_lengths: np.ndarray) -> tuple[Tensor, Tensor]:
        """Token and segment ids of some sequences laid end to end, each int64 `[total_tokens]`, without waiting for the device.

        Args:
            starts: int64 `[num_sequences]`, where each sequence begins in `tokens`.
            lengths: int64 `[num_sequences]`, its tokens.
            first_lengths: int64 `[num_sequences]`, tokens of its first sentence: what follows is segment 1.
        """
        ends = np.cumsum(lengths)
        described = torch.from_numpy(np.stack([starts, lengths, first_lengths, ends - lengths])).to(self.tokens.device)
        of_tokens = described.repeat_interleave(described[1], dim=1, output_size=int(lengths.sum()))
        places = torch.arange(of_tokens.shape[1], device=self.tokens.device) - of_tokens[3]
        return self.tokens[of_tokens[0] + places].long(), (places >= of_tokens[2]).long()

    def take_labels(self, rows: np.ndarray) -> Tensor | None:
        """Labels of some rows, float32 `[num_rows]`, or None."""
        return None if self.labels is None else self.labels[torch.from_numpy(rows).to(self.labels.device)]


class ResidentTokens:
    """The tables of a source on an accelerator, each copied when it is first asked for; none for a CPU, which maps them.

    Args:
        store: the tokens.
        device: where the model computes.
    """

    def __init__(self, store: TokenStore, device: torch.device) -> None:
        self._store, self._device = store, device
        self._tables: dict[tuple[str, Split], ResidentTable] = {}

    def table(self, task: str, split: Split) -> ResidentTable | None:
        """The tokens of one split of one task; None on a CPU."""
        if self._device.type == "cpu":
            return None
        if (task, split) not in self._tables:
            self._tables[task, split] = ResidentTable.of(self._store.table(task, split), self._device)
        return self._tables[task, split]
