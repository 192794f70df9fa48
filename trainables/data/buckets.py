"""Length buckets: rows of like length meet in one batch, each near its place in the shuffled order."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Buckets:
    """How the rows of a stream are put together by length.

    Attributes:
        lengths: integer `[num_rows]`, of each row of the stream (see `batching.longest_sequences`).
        batch_size: rows in a batch.
        window: batches among which rows change places, at least 2.
    """

    lengths: np.ndarray
    batch_size: int
    window: int

    def __post_init__(self) -> None:
        assert self.batch_size >= 1
        assert self.window >= 2, "a window of 1 would only sort each batch"

    def sort(self, order: np.ndarray, *, first: int, rng: np.random.Generator) -> np.ndarray:
        """An epoch's order, in which batches hold rows of like length.

        From place `first` on the order is cut into windows of `window` batches, the last one perhaps of fewer. Each window is
        sorted by length and cut into batches, which then change places at random, as else every window would run from
        short to long. So no row moves further than `window * batch_size - 1` places. What belongs to a batch that begins in
        the epoch before or ends in the one after stays as it is.

        Args:
            order: int64 `[num_rows]`, row numbers in their shuffled order.
            first: the place at which the first batch of the epoch begins.
            rng: draws the order of batches.
        """
        num_batches = max(len(order) - first, 0) // self.batch_size
        inner = slice(first, first + num_batches * self.batch_size)
        windows = np.arange(num_batches) // self.window
        # lexsort is stable and its last key counts first: equal lengths stay in their shuffled order
        by_length = np.lexsort((self.lengths[order[inner]], np.repeat(windows, self.batch_size)))
        batches = order[inner][by_length].reshape(num_batches, self.batch_size)
        out = order.copy()
        out[inner] = batches[np.lexsort((rng.random(num_batches), windows))].ravel()
        return out
