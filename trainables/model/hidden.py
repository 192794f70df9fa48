"""What an encoder gives: the states of sequences that lie end to end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Hidden:
    """The encoder's last hidden states, unpadded; of all tokens, or of each sequence's first alone.

    Attributes:
        states: `[total_tokens, hidden]`, sequences end to end.
        starts: int64 `[num_sequences]`, row of each sequence's first token.
        cls_rows: int64 `[num_sequences]`, row of its [CLS]: the first token, or another where there are several.
        sequence_of_token: int64 `[total_tokens]`.
        lengths: float `[num_sequences]`, tokens of each sequence.
    """

    states: Tensor
    starts: Tensor
    cls_rows: Tensor
    sequence_of_token: Tensor
    lengths: Tensor

    def with_states(self, states: Tensor) -> "Hidden":
        """The same sequences with other states of their tokens, `[total_tokens, any]`."""
        return replace(self, states=states)

    def split(self, lengths: Sequence[np.ndarray]) -> list["Hidden"]:
        """The parts of a batch that was joined, each as if it had been read alone; views, nothing is fetched from the device.

        Args:
            lengths: of each part's sequences, int64 `[num_sequences]` on the CPU, as the encoder got them.
        """
        if len(lengths) == 1:
            return [self]
        first_tokens_only = len(self.states) == len(self.starts)
        out, row, sequence = [], 0, 0
        for part in lengths:
            end, last = sequence + len(part), row + (len(part) if first_tokens_only else int(part.sum()))
            starts, cls_rows = self.starts[sequence:end] - row, self.cls_rows[sequence:end] - row
            of_token = self.sequence_of_token[row:last] - sequence
            out.append(Hidden(self.states[row:last], starts, cls_rows, of_token, self.lengths[sequence:end]))
            row, sequence = last, end
        return out


def hidden_of(states: Tensor, lengths: np.ndarray, cls_positions: np.ndarray | None = None) -> Hidden:
    """What an encoder gives, from states and where they lie.

    Args:
        states: `[total_tokens, hidden]`.
        lengths: int64 `[num_sequences]` on the CPU, tokens of each sequence.
        cls_positions: int64 `[num_sequences]` on the CPU, which token of each sequence is its [CLS]; None: the first of all.
    """
    starts = torch.from_numpy(np.cumsum(lengths) - lengths).to(states.device)
    sequence_of_token = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(states.device)
    cls_rows = starts if cls_positions is None else starts + torch.from_numpy(cls_positions).to(states.device)
    return Hidden(states, starts, cls_rows, sequence_of_token, torch.from_numpy(lengths).to(states.device, states.dtype))
