"""Sentences to token numbers, once: an Arrow file that every trial of a machine maps into its memory.

The file's name is a hash of all that decides its content (raw data files, tokenizer, settings), so a changed file or
setting makes another one, and a second trial opens it without reading the data.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainables.config_parts import DataConfig, EncoderConfig
from trainables.data.arrow_files import map_arrow, write_arrow
from trainables.data.confirm_part import merged
from trainables.data.reading import hash_source, key_parts, load_rows, normalised
from trainables.data.rows import LeftOut, Rows, Split
from trainables.data.wordpiece import SequenceMaker
from trainables.encoder_files import EncoderFiles, find_encoder
from trainables.files import cache_folder, open_or_make
from trainables.tasks import CS224N, Task, TaskSet

FORMAT_VERSION = 2
"""Raise it whenever the same rows and settings would give other tokens, or another layout."""

_DECIDE_TOKENS = {
    "name",
    "sentence_columns",
    "label_column",
    "target",
    "num_classes",
    "label_range",
    "file_stem",
    "id_column",
    "separator",
}

SCHEMA = pa.schema(
    [("id", pa.string()), ("tokens", pa.large_list(pa.int32())), ("first_length", pa.int32()), ("label", pa.float32())]
)


@dataclass(frozen=True)
class TokenTable:
    """The tokens of one split of one task: views into a memory map, nothing is copied.

    A row holds `[CLS] a [SEP]`; for pairs read at once `[CLS] a [SEP] b [SEP]`; for pairs read apart `[CLS] a [SEP]` and
    then `[CLS] b [SEP]`.  With `encoder.cls_tokens: 2` each `[CLS]` stands twice.

    Attributes:
        tokens: int32 `[total_tokens]`, all rows end to end.
        offsets: int64 `[num_rows + 1]`: row i is `tokens[offsets[i]:offsets[i + 1]]`.
        first_lengths: int32 `[num_rows]`, tokens up to and with the first `[SEP]`; all of them for a single sentence.
        labels: float32 `[num_rows]`, or None.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    first_lengths: np.ndarray
    labels: np.ndarray | None
    _ids: pa.StringArray

    @property
    def ids(self) -> list[str]:
        """The rows' names, made into a list at each call."""
        return list(self._ids.to_pylist())

    def sha256(self) -> str:
        """The sha256, in hex, of what a model reads of the rows: tokens, and where rows and their first sentences end."""
        total = hashlib.sha256()
        for column in (self.tokens, self.offsets, self.first_lengths):
            total.update(f"{column.dtype.str} {len(column)} ".encode())
            total.update(column.data)
        return total.hexdigest()

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self.first_lengths)

    @property
    def sequence_lengths(self) -> np.ndarray:
        """Tokens of each row, int64 `[num_rows]`; both sentences of a pair."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class TokenStore:
    """All tokens of a source.

    Attributes:
        tables: (task name, split) -> tokens.
        left_out: rows of the source that are not used.
        hashes: file name -> sha256 of the raw file.
        rows_read: file name -> rows in it.
        key: hash of all that decided the content.
        path: the Arrow file.
        confirm_places: of the `DataSet`.
    """

    tables: dict[tuple[str, Split], TokenTable]
    left_out: list[LeftOut]
    hashes: dict[str, str]
    rows_read: dict[str, int]
    key: str
    path: Path
    confirm_places: dict[str, np.ndarray] = field(default_factory=dict)

    def table(self, task: str, split: Split) -> TokenTable:
        """The tokens of one split of one task.

        Raises:
            KeyError: the source has no such split; `test` may be missing, and `confirm` where `data.confirm_share` is 0.
        """
        return self.tables[task, split]

    def ids(self, task: str, split: Split) -> list[str]:
        """The rows' names; of `dev` all that the source has, those of `confirm` among them, in the source's order."""
        own = self.table(task, split).ids
        if split != "dev" or task not in self.confirm_places:
            return own
        kept = self.table(task, "confirm").ids
        return list(merged(np.array(own, dtype=object), np.array(kept, dtype=object), self.confirm_places[task]))

    def has(self, task: str, split: Split) -> bool:
        """True where the source has that split."""
        return (task, split) in self.tables


def tokenise(data: DataConfig, encoder: EncoderConfig, tasks: TaskSet = CS224N) -> TokenStore:
    """The tokens of a source under an encoder's tokenizer: mapped from the cache, or made first.

    Two processes that start at once make them once.  A file that is damaged is made again.

    Raises:
        DataError: the source cannot be read.
        EncoderError: the encoder cannot be found, or its tokenizer is not BERT's.
    """
    files = find_encoder(encoder.name)
    hashes = hash_source(data, tasks)
    key = store_key(data, encoder, tasks, files.tokenizer_sha256, hashes)
    path = cache_folder() / "tokens" / f"{key}.arrow"
    return open_or_make(path, lambda: open_store(path, key), lambda: _build(path.parent, data, encoder, tasks, files))


def store_key(data: DataConfig, encoder: EncoderConfig, tasks: TaskSet, tokenizer_sha256: str, hashes: dict[str, str]) -> str:
    """The hash, in hex, of all that decides the tokens."""
    parts = {
        "format": FORMAT_VERSION,
        "files": hashes,
        "tasks": [task.model_dump(mode="json", include=_DECIDE_TOKENS) for task in tasks.tasks],
        "tokenizer": tokenizer_sha256,
        "max_tokens": data.max_tokens,
        "normalise_text": data.normalise_text,
        "pair_encoding": encoder.pair_encoding,
        **({} if encoder.cls_tokens == 1 else {"cls_tokens": encoder.cls_tokens}),  # files from before it was there stay good
        **key_parts(data, tasks, hashes),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def open_store(path: Path, key: str) -> TokenStore | None:
    """The store in a file, mapped into memory; None where there is no file or where it is not what was written."""
    about, tables = map_arrow(path, SCHEMA, _table) or ({}, [])
    if about.get("key") != key:
        return None
    return TokenStore(
        tables={(split["task"], split["split"]): table for split, table in zip(about["splits"], tables, strict=True)},
        left_out=[LeftOut(**item) for item in about["left_out"]],
        hashes=about["hashes"],
        rows_read=about["rows_read"],
        key=key,
        path=path,
        confirm_places={task: np.array(places, dtype=np.int64) for task, places in about.get("confirm_places", {}).items()},
    )


def _build(folder: Path, data: DataConfig, encoder: EncoderConfig, tasks: TaskSet, files: EncoderFiles) -> TokenStore | None:
    data_set = load_rows(data, tasks)
    # The files may have changed since the key was made: what is stored must be what the key says.
    key = store_key(data, encoder, tasks, files.tokenizer_sha256, data_set.hashes)
    path = folder / f"{key}.arrow"
    maker = _maker(data, encoder, files)
    batches, splits = [], []
    for task in tasks.tasks:
        for split, rows in data_set.splits[task.name].items():
            batches.append(_record_batch(maker, task, rows))
            splits.append({"task": task.name, "split": split})
    about = {
        "key": key,
        "splits": splits,
        "left_out": [asdict(item) for item in data_set.left_out],
        "hashes": data_set.hashes,
        "rows_read": data_set.rows_read,
        "confirm_places": {task: places.tolist() for task, places in data_set.confirm_places.items()},
    }
    write_arrow(path, SCHEMA, batches, about)
    return open_store(path, key)


def tokenise_rows(rows: Rows, task: Task, data: DataConfig, encoder: EncoderConfig, files: EncoderFiles) -> TokenTable:
    """The tokens of rows from anywhere, in memory, as `tokenise` makes those of a source."""
    wanted = normalised(rows) if data.normalise_text else rows
    return _table(_record_batch(_maker(data, encoder, files), task, wanted))


def _maker(data: DataConfig, encoder: EncoderConfig, files: EncoderFiles) -> SequenceMaker:
    sizes = {"max_tokens": data.max_tokens, "cls_tokens": encoder.cls_tokens}
    return SequenceMaker(files, pair_encoding=encoder.pair_encoding, **sizes)


def _record_batch(maker: SequenceMaker, task: Task, rows: Rows) -> pa.RecordBatch:
    made = maker.pairs(*rows.sentences) if task.is_pair else maker.singles(rows.sentences[0])
    columns = [
        pa.array(rows.ids, pa.string()),
        pa.LargeListArray.from_arrays(pa.array(made.offsets), pa.array(made.tokens)),
        pa.array(made.first_lengths),
        pa.nulls(rows.num_rows, pa.float32()) if rows.labels is None else pa.array(rows.labels),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _table(batch: pa.RecordBatch) -> TokenTable:
    tokens, labels = batch.column("tokens"), batch.column("label")
    return TokenTable(
        tokens=tokens.values.to_numpy(),
        offsets=tokens.offsets.to_numpy(),
        first_lengths=batch.column("first_length").to_numpy(),
        labels=None if labels.null_count else labels.to_numpy(),
        _ids=batch.column("id"),
    )
