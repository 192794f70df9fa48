"""What layers that stand still give for every row, once: an Arrow file that every trial of a machine maps into its memory.

Where an encoder, or its first layers, neither move nor drop out, their outputs for a row are always the same, as long as no
phase before has moved them.  Of a whole encoder under a pooling without weights one vector a sentence is kept, else the states
of all tokens.

The file's name is a hash of all that decides its content: the encoder's weights, the rows as it reads them, layers, pooling,
threads, precision and kind of device.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainables.config import TrialConfig
from trainables.data.arrow_files import map_arrow, write_arrow
from trainables.data.batching import evaluation_batches
from trainables.data.frozen_states import FrozenTable
from trainables.data.rows import Split
from trainables.data.tokens import TokenStore, TokenTable
from trainables.encoder_files import EncoderFiles
from trainables.evaluation import MAX_TOKENS_PER_BATCH
from trainables.files import cache_folder, open_or_make
from trainables.model.multitask import MultitaskModel
from trainables.tasks import Task

FORMAT_VERSION = 1
"""Raise it whenever the same encoder and rows would give other states, or another layout."""

MAX_BYTES = 2 * 2**30
"""Of one file, which is held in memory while it is made; what would be larger is computed anew in every step."""

PASSES = 2
"""Over its rows that a trial must have before it in a phase, if `auto` is to compute what nobody has computed yet."""

_SCHEMA = pa.schema([("state", pa.float32())])


class FrozenLayers:
    """What stands still in a trial, phase by phase.

    Args:
        config: of the trial, with its precision resolved.
        files: its encoder.
        store: its tokens.
        rows: row numbers of each task's training table that the trial uses, int64.

    Attributes:
        decisions: `PHASE SPLIT` -> whether the file is used there; part of a checkpoint, for it decides last digits.
    """

    def __init__(self, config: TrialConfig, files: EncoderFiles, store: TokenStore, rows: Mapping[str, np.ndarray]) -> None:
        self._config, self._files, self._store = config, files, store
        self._rows = rows
        self.decisions: dict[str, bool] = {}
        self._found: dict[tuple[int, Split], dict[str, FrozenTable]] = {}

    def num_layers(self, phase: int) -> int:
        """First layers that give in a phase what the pretrained encoder gives; none under SMART, which moves what they read."""
        if self._config.objective.smart.enabled or self._config.encoder.frozen_cache == "never":
            return 0
        everything = self._files.num_layers
        return min(everything if p.trainable == "heads" else p.frozen_layers for p in self._config.phases[: phase + 1])

    def tables(self, model: MultitaskModel, phase: int, num_examples: int, split: Split) -> Mapping[str, FrozenTable]:
        """By task what those layers give for the rows of a split: of the phase's tasks for `train`, else of all.

        Mapped from the cache, or computed first where that pays (`encoder.frozen_cache`); empty where it does not, where nothing
        stands still, where one of the files would be too large, and where they would take more than half of the room on the disk.

        Args:
            model: of the trial, in that phase; torch must run with the trial's threads.
            phase: its number.
            num_examples: training examples of that phase.
            split: of the data.
        """
        if (phase, split) not in self._found:
            tasks = self._config.phases[phase].tasks if split == "train" else self._config.tasks.names
            num_layers = self.num_layers(phase)
            wanted = [self._of_task(model, task, split, num_layers) for task in tasks] if num_layers else []
            name = f"{phase} {split}"
            usable = self.decisions.get(name, bool(wanted) and self._usable(wanted, pays=self._pays(phase, num_examples)))
            found = self._opened(model, wanted) if usable else {}
            self.decisions[name], self._found[phase, split] = bool(found), found
        return self._found[phase, split]

    def _opened(self, model: MultitaskModel, wanted: Sequence["_Wanted"]) -> dict[str, FrozenTable]:
        """All of them, or none where the disk does not take them: they save time, and nothing hangs on them."""
        try:
            return {item.task.name: item.open_or_make(model) for item in wanted}
        except OSError:
            return {}

    def _usable(self, wanted: Sequence["_Wanted"], *, pays: bool) -> bool:
        missing = [item for item in wanted if not item.path.exists()]
        room = shutil.disk_usage(cache_folder()).free // 2
        return (
            all(item.num_bytes <= MAX_BYTES for item in wanted)
            and (pays or not missing)
            and sum(item.num_bytes for item in missing) <= room
        )

    def _pays(self, phase: int, num_examples: int) -> bool:
        num_rows = sum(len(self._rows[task]) for task in self._config.phases[phase].tasks)
        return self._config.encoder.frozen_cache == "always" or num_examples >= PASSES * num_rows

    def _of_task(self, model: MultitaskModel, name: str, split: Split, num_layers: int) -> "_Wanted":
        config, table, task = self._config, self._store.table(name, split), self._config.tasks.by_name[name]
        apart = task.is_pair and config.encoder.pair_encoding == "bi"
        pooling = model.frozen_pooling(task) if num_layers == self._files.num_layers else None
        rows = self._rows[name] if split == "train" else np.arange(table.num_rows)
        decide = {
            "format": FORMAT_VERSION,
            "encoder": [self._files.weights_sha256, self._files.config],
            "tokens": table.sha256(),
            "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
            "apart": apart,
            "cls": config.encoder.cls_tokens,
            "single": not task.is_pair,
            "num_layers": num_layers,
            "pooling": pooling,
            "num_threads": config.num_threads,
            "device": model.device.type,
            "precision": config.precision,
        }
        key = hashlib.sha256(json.dumps(decide, sort_keys=True).encode()).hexdigest()
        return _Wanted(key, task, table, rows, num_layers, pooling is not None, apart, self._files.hidden_size)


@dataclass(frozen=True)
class _Wanted:
    """The states of some rows of a table, wherever they are by now.

    Attributes:
        key: the hash of all that decides them.
        apart: whether a row is two sequences.
    """

    key: str
    task: Task
    table: TokenTable
    rows: np.ndarray
    num_layers: int
    pooled: bool
    apart: bool
    hidden_size: int

    @property
    def path(self) -> Path:
        """The file that holds them, or would."""
        return cache_folder() / "frozen" / f"{self.key}.arrow"

    @property
    def _states_of_rows(self) -> np.ndarray:
        """How many states each row has, int64 `[len(rows)]`."""
        if self.pooled:
            return np.full(len(self.rows), 2 if self.apart else 1, dtype=np.int64)
        lengths: np.ndarray = self.table.sequence_lengths[self.rows]
        return lengths

    @property
    def num_bytes(self) -> int:
        """Size of the states."""
        return int(self._states_of_rows.sum()) * self.hidden_size * 4

    def open_or_make(self, model: MultitaskModel) -> FrozenTable:
        """Opens the file, which is made first where it is not there or is damaged."""
        return open_or_make(self.path, self._open, lambda: self._make(model))

    def _open(self) -> FrozenTable | None:
        about, columns = map_arrow(self.path, _SCHEMA, lambda batch: batch.column("state").to_numpy()) or ({}, [])
        return self._table(columns[0].reshape(-1, self.hidden_size)) if about.get("key") == self.key else None

    def _table(self, values: np.ndarray) -> FrozenTable:
        first = np.zeros(self.table.num_rows, dtype=np.int64)
        sizes = self._states_of_rows
        first[self.rows] = np.cumsum(sizes) - sizes
        return FrozenTable(values, first, self.num_layers, self.pooled)

    def _make(self, model: MultitaskModel) -> FrozenTable | None:
        values = np.empty((int(self._states_of_rows.sum()), self.hidden_size), dtype=np.float32)
        # A table of place numbers is gathered as the states will be: what a batch gets there says where its states belong.
        numbers = self._table(np.arange(len(values)))
        batches = evaluation_batches(
            self.table,
            task=self.task,
            pair_encoding="bi" if self.apart else "cross",
            max_tokens_per_batch=MAX_TOKENS_PER_BATCH,
            rows=self.rows,
            frozen=numbers,
        )
        for _, batch in batches:
            assert batch.frozen is not None
            places = batch.frozen.values.numpy()
            values[places] = model.frozen_states(replace(batch, frozen=None), self.num_layers).cpu().numpy()
        column = pa.array(values.reshape(-1))
        write_arrow(self.path, _SCHEMA, [pa.RecordBatch.from_arrays([column], schema=_SCHEMA)], {"key": self.key})
        return self._open()
