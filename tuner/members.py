"""The members of an ensemble: exported models, found and checked without torch, before any of them is loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from trainables.config import TrialConfig
from trainables.config_parts import DataConfig, EdaConfig
from trainables.data.reading import hash_source
from trainables.data.tokens import TokenStore, TokenTable, tokenise
from trainables.exported import read_export, weights_in
from trainables.files import sha256_of
from trainables.inputs import absolute_source
from trainables.parts import Problems
from trainables.tasks import TaskSet
from trainables.teacher_files import ENCODER

_ALIKE = ("target", "num_classes", "label_range", "metric", "is_pair")
"""What a task must be in all members; how it is called by people and in which files it lies is the first member's say."""


@dataclass(frozen=True)
class Member:
    """An exported model.

    Attributes:
        folder: absolute, as `trainables.model.files.load_model` reads it.
        config: that it was trained with.
        weights: file of weights, relative to `folder` -> sha256 in hex.
        source: of the rows that it is scored on, absolute.
        store: the tokens that it is scored on, made by its own tokenizer and settings.
    """

    folder: Path
    config: TrialConfig
    weights: dict[str, str]
    source: str
    store: TokenStore


def find_members(folders: Sequence[Path], data: str | None = None) -> list[Member]:
    """The models in some folders, all reading the same rows: those of the first one's data, or of `data`.

    Args:
        folders: each an export, or a search's, a trial's or a training's folder with one in its `best/`.
        data: `sample`, `hub` or a folder with the files of the first member's tasks; None: the source of them all.

    Raises:
        ConfigError: folders without a whole model, models of other tasks, several sources, data that cannot be read; all at once.
    """
    problems = Problems()
    if len(folders) < 2:
        problems.add(f"--ensemble wants at least two exported models, but got {len(folders)}")
    found = [problems.attempt(partial(read_export, folder)) for folder in folders]
    read = [inner for inner in found if inner is not None]
    for folder, config in read[1:]:
        problems.add(*_other_tasks(read[0][1].tasks, folder, config.tasks))
    if data is None:
        problems.add(*_other_sources(read))
    if read:
        source, tasks = absolute_source(data or read[0][1].data.source), read[0][1].tasks
        problems.attempt(partial(hash_source, DataConfig(source=source), tasks))
    problems.raise_any()
    members = [problems.attempt(partial(_open, folder, config, source, tasks)) for folder, config in read]
    opened = [member for member in members if member is not None]
    problems.add(*(problem for member in opened[1:] for problem in _other_rows(opened[0], member)))
    problems.raise_any()
    return opened


def _other_tasks(tasks: TaskSet, folder: Path, others: TaskSet) -> Iterator[str]:
    if set(tasks.names) != set(others.names):
        yield f"{folder}: members must be about the same tasks, {', '.join(tasks.names)}, but got {', '.join(others.names)}"
    for name in (name for name in tasks.names if name in others.names):
        for key in _ALIKE:
            first, other = getattr(tasks.by_name[name], key), getattr(others.by_name[name], key)
            if first != other:
                yield f"{folder}: task {name} must have {key}={first}, as in the first member, but has {other}"


def _other_sources(read: Sequence[tuple[Path, TrialConfig]]) -> list[str]:
    sources = {folder: absolute_source(config.data.source) for folder, config in read}
    if len(set(sources.values())) < 2:
        return []
    each = "; ".join(f"{folder}: {source}" for folder, source in sources.items())
    return [f"members were trained on different data, name the one to score them on with --data: {each}"]


def _open(folder: Path, config: TrialConfig, source: str, tasks: TaskSet) -> Member:
    """The member with its tokens; rows that only training sees (`data.more_rows`, `data.eda`) are left out, dev is whole."""
    own = {"source": source, "more_rows": dict.fromkeys(tasks.names, ()), "eda": EdaConfig(), "confirm_share": 0.0}
    data = config.data.model_copy(update=own)
    encoder = config.encoder.model_copy(update={"name": str(folder / ENCODER)})
    weights = {str(file.relative_to(folder)): sha256_of(file) for file in weights_in(folder)}
    return Member(folder, config, weights, source, tokenise(data, encoder, tasks))


def _other_rows(first: Member, other: Member) -> Iterator[str]:
    """A sentence for each split whose rows are not those of the first member: the files changed in between."""
    for (name, split), table in first.store.tables.items():
        theirs = other.store.tables.get((name, split))
        alike = theirs is not None and table.ids == theirs.ids and np.array_equal(_labels(table), _labels(theirs))
        if split != "train" and not alike:
            yield f"{other.folder}: it reads other {split} rows of {name} than {first.folder}; the data changed meanwhile"


def _labels(table: TokenTable) -> np.ndarray:
    return np.zeros(0) if table.labels is None else table.labels
