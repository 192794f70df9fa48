"""Token tables in, unpadded batches out; and the order of rows, seeded, whose position is one number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from trainables.data.buckets import Buckets
from trainables.data.frozen_states import FrozenStates, FrozenTable
from trainables.data.resident import ResidentTable
from trainables.data.tokens import TokenTable
from trainables.heartbeat import beat
from trainables.tasks import Task

PairEncoding = Literal["cross", "bi"]


@dataclass(frozen=True)
class Batch:
    """Sequences of one task laid end to end, without padding.

    Pairs that are read apart (`bi`) come as all first sentences, then all second ones: twice as many sequences as examples.

    Attributes:
        task: whose rows they are.
        token_ids: int64 `[total_tokens]`.
        segment_ids: int64 `[total_tokens]`: 1 for the second sentence of a pair that is read at once, else 0.
        lengths: int64 `[num_sequences]` in numpy, tokens of each sequence; the encoder plans from it on the CPU.
        num_examples: rows in the batch.
        labels: float32 `[num_examples]`, or None.
        teacher: a teacher's raw outputs for the rows, float32 `[num_examples, num_classes]` or `[num_examples]`, or None.
        frozen: what the encoder's first layers give, where that is known; None: it is computed.
    """

    task: Task
    token_ids: torch.Tensor
    segment_ids: torch.Tensor
    lengths: np.ndarray
    num_examples: int
    labels: torch.Tensor | None
    teacher: torch.Tensor | None = None
    frozen: FrozenStates | None = None


def gather(
    table: TokenTable,
    rows: np.ndarray,
    *,
    task: Task,
    pair_encoding: PairEncoding,
    frozen: FrozenTable | None = None,
    resident: ResidentTable | None = None,
) -> Batch:
    """The batch of the given rows, in their order.

    Args:
        table: tokens made with the same `pair_encoding`.
        rows: integer `[num_examples]`, numbers of rows of `table`; a row may stand more than once.
        task: whose rows they are.
        pair_encoding: how pairs are read; nothing to a task of single sentences.
        frozen: what the encoder's first layers give for rows of the same table; None: nothing is known.
        resident: the table where the model computes: tokens and labels come from there; None: from memory.
    """
    lengths = table.offsets[rows + 1] - table.offsets[rows]
    first_lengths = table.first_lengths[rows].astype(np.int64)
    num_examples, starts = len(rows), np.zeros(len(rows), dtype=np.int64)  # of each sequence in its row
    if task.is_pair and pair_encoding == "bi":
        rows, starts = np.concatenate([rows, rows]), np.concatenate([starts, first_lengths])
        lengths = first_lengths = np.concatenate([first_lengths, lengths - first_lengths])
    if resident is None:
        places = _places(lengths)
        token_ids = torch.from_numpy(table.tokens[np.repeat(table.offsets[rows] + starts, lengths) + places].astype(np.int64))
        segment_ids = torch.from_numpy((places >= np.repeat(first_lengths, lengths)).astype(np.int64))
        labels = None if table.labels is None else torch.from_numpy(table.labels[rows[:num_examples]])
    else:
        token_ids, segment_ids = resident.take(table.offsets[rows] + starts, lengths, first_lengths)
        labels = resident.take_labels(rows[:num_examples])
    if frozen is None:
        states = None
    elif frozen.pooled:
        states = frozen.take(rows, np.arange(len(rows)) // num_examples)
    else:
        states = frozen.take(np.repeat(rows, lengths), np.repeat(starts, lengths) + _places(lengths))
    return Batch(
        task=task,
        token_ids=token_ids,
        segment_ids=segment_ids,
        lengths=lengths,
        num_examples=num_examples,
        labels=labels,
        frozen=states,
    )


def part_of(batch: Batch, examples: np.ndarray) -> Batch:
    """Some examples of a batch, as `gather` would have given their rows alone.

    Args:
        batch: with at least one example.
        examples: int64, their numbers in the batch, in the order wanted.
    """
    sequences_of_an_example = len(batch.lengths) // batch.num_examples
    sequences = np.concatenate([examples + number * batch.num_examples for number in range(sequences_of_an_example)])
    lengths = batch.lengths[sequences]
    starts = np.cumsum(batch.lengths) - batch.lengths
    tokens = torch.from_numpy(np.repeat(starts[sequences], lengths) + _places(lengths))
    frozen, kept = batch.frozen, torch.from_numpy(examples)
    return replace(
        batch,
        token_ids=batch.token_ids[tokens],
        segment_ids=batch.segment_ids[tokens],
        lengths=lengths,
        num_examples=len(examples),
        labels=None if batch.labels is None else batch.labels[kept],
        teacher=None if batch.teacher is None else batch.teacher[kept],
        frozen=frozen and replace(frozen, values=frozen.values[torch.from_numpy(sequences) if frozen.pooled else tokens]),
    )


def micro_batches(batch: Batch, size: int | None) -> list[Batch]:
    """A batch in parts of `size` examples, in order, of which the last may be smaller; None: in one."""
    if size is None or size >= batch.num_examples:
        return [batch]
    starts = range(0, batch.num_examples, size)
    return [part_of(batch, np.arange(start, min(start + size, batch.num_examples))) for start in starts]


def _places(lengths: np.ndarray) -> np.ndarray:
    """Of each token its place in its sequence, int64 `[total_tokens]`, for sequences that lie end to end."""
    places: np.ndarray = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return places


def longest_sequences(table: TokenTable, pair_encoding: PairEncoding) -> np.ndarray:
    """Tokens of the longest sequence that the encoder reads of each row, int64 `[num_rows]`.

    Of pairs that are read apart it is the longer sentence: what attention pads to depends on it more than on their sum.
    """
    if pair_encoding == "cross":
        return table.sequence_lengths
    first_lengths = table.first_lengths.astype(np.int64)  # of a single sentence all of its tokens
    return np.maximum(first_lengths, table.sequence_lengths - first_lengths)


class ExampleStream:
    """Row numbers without end: one permutation of all rows after the other, each drawn from (seed, epoch).

    Batches run on across the border of two epochs, so each has exactly the size asked for, and `num_taken` is the whole
    state: a stream whose `num_taken` is set goes on as the stream that came there step by step.

    With length buckets all batches are of one size, and windows are laid from where batches begin, which `num_taken` tells:
    whoever skips rows sets it to a multiple of `num_rows`, where the next batch then begins, or by whole batches.

    Attributes:
        num_rows: rows in an epoch.
        num_taken: row numbers given out so far; may be set.
        buckets: how rows are put together by length; None: not at all.
    """

    def __init__(self, num_rows: int, *, seed: int | Sequence[int], buckets: Buckets | None = None) -> None:
        if num_rows < 1:
            raise ValueError(f"num_rows >= 1 must hold, but got num_rows={num_rows}")
        assert buckets is None or len(buckets.lengths) == num_rows
        self.num_rows = num_rows
        self.num_taken = 0
        self.buckets = buckets
        self._seed = seed
        self._made: tuple[int, int] | None = None
        self._order = np.empty(0, dtype=np.int64)

    @property
    def bucket_window(self) -> int:
        """Batches in a window of the length buckets; 1 where there are none."""
        return self.buckets.window if self.buckets else 1

    def take(self, n: int) -> np.ndarray:
        """The next `n` row numbers, int64 `[n]`; with buckets `n` is their batch size."""
        assert self.buckets is None or n == self.buckets.batch_size
        parts, begin = [], self.num_taken
        while n > 0:
            epoch, place = divmod(self.num_taken, self.num_rows)
            part = self._order_of(epoch, begin)[place : place + n]
            parts.append(part)
            self.num_taken += len(part)
            n -= len(part)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _order_of(self, epoch: int, begin: int) -> np.ndarray:
        """The order of an epoch in which a batch begins, or goes on, that begins after `begin` row numbers."""
        first = (begin - epoch * self.num_rows) % self.buckets.batch_size if self.buckets else 0
        if (epoch, first) != self._made:
            # spawn_key, not one more word of entropy: SeedSequence([s]) and SeedSequence([s, 0]) are the same.
            rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(epoch,)))
            order = rng.permutation(self.num_rows)
            self._order = self.buckets.sort(order, first=first, rng=rng) if self.buckets else order
            self._made = (epoch, first)
        return self._order


def evaluation_batches(
    table: TokenTable,
    *,
    task: Task,
    pair_encoding: PairEncoding,
    max_tokens_per_batch: int,
    rows: np.ndarray | None = None,
    frozen: FrozenTable | None = None,
    resident: ResidentTable | None = None,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every row of `rows` (None: of the table) once, by length, in batches of at most `max_tokens_per_batch` tokens.

    A row that is longer is a batch of its own.

    Yields:
        The row numbers `[num_examples]` of the batch, and the batch.
    """
    if max_tokens_per_batch < 1:
        raise ValueError(f"max_tokens_per_batch >= 1 must hold, but got max_tokens_per_batch={max_tokens_per_batch}")
    wanted = np.arange(table.num_rows) if rows is None else rows
    order = wanted[np.argsort(table.sequence_lengths[wanted], kind="stable")]
    ends = np.cumsum(table.sequence_lengths[order])
    start = 0
    while start < len(order):
        beat()  # whoever asks for the next batch is done with the one before
        tokens_before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, tokens_before + max_tokens_per_batch, side="right")))
        yield (
            order[start:stop],
            gather(table, order[start:stop], task=task, pair_encoding=pair_encoding, frozen=frozen, resident=resident),
        )
        start = stop
