"""What teachers predict of a task's training rows, once: an Arrow IPC file that every trial of a machine maps into its memory.

They predict all rows of the task, also where a trial trains on a part of them (`data.train_share`): one file serves all shares,
and a batch finds its rows in it by their numbers.

The file's name is a hash of all that decides its content (the teacher's weights and config, the task's rows as the teacher reads
them), so another teacher and changed rows make another one, and what happens to other tasks' rows does not.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from trainables.config import TrialConfig
from trainables.data.arrow_files import map_arrow, write_arrow
from trainables.data.rows import Split
from trainables.data.tokens import TokenStore, TokenTable, tokenise
from trainables.evaluation import predict
from trainables.files import cache_folder, open_or_make
from trainables.model.files import load_model
from trainables.parts import ConfigError
from trainables.tasks import Task
from trainables.teacher_files import TeacherFiles, sum_of

FORMAT_VERSION = 2
"""Raise it whenever the same teacher and rows would give other outputs, or another layout."""

_SPLIT: Split = "train"


def teacher_outputs(
    config: TrialConfig, teachers: Mapping[str, TeacherFiles], store: TokenStore, device: torch.device
) -> dict[str, np.ndarray]:
    """What each teacher predicts of all training rows of its task, without dropout: mapped from the cache, or computed first.

    Two trials that start at once compute it once.  A file that is damaged is made again.

    Args:
        config: the student's; torch must run with its `num_threads`.
        teachers: by task.
        store: the student's tokens.
        device: where teachers run.

    Returns:
        For each task with a teacher its raw outputs in the order of the student's table, float32 `[num_rows, num_classes]` for
        classes, `[num_rows]` otherwise.

    Raises:
        ConfigError: a teacher, or the data, has changed since it was opened.
    """
    by_name = config.tasks.by_name
    return {name: _outputs_of(teacher, by_name[name], config, store, device) for name, teacher in teachers.items()}


def _outputs_of(teacher: TeacherFiles, task: Task, config: TrialConfig, store: TokenStore, device: torch.device) -> np.ndarray:
    tokens = _read_as(teacher, config)
    table = tokens.table(task.name, _SPLIT)
    if tokens.hashes != store.hashes or table.ids != store.table(task.name, _SPLIT).ids:
        raise ConfigError(
            [f"objective.distill.teachers.{task.name}: {teacher.folder}: the training rows of {config.data.source} have changed"]
        )
    key = _key(teacher, table, task, config.num_threads, device)
    path = cache_folder() / "teachers" / f"{key}.arrow"
    shape = (table.num_rows, task.num_outputs) if task.target == "classes" else (table.num_rows,)

    def make() -> np.ndarray | None:
        _write(path, key, _predict(teacher, table, task, device))
        return _open(path, key, shape)

    return open_or_make(path, lambda: _open(path, key, shape), make)


def _read_as(teacher: TeacherFiles, config: TrialConfig) -> TokenStore:
    """The student's rows as the teacher reads them: its tokenizer, its way with pairs, its longest sequence."""
    own = teacher.config
    data = {"max_tokens": own.data.max_tokens, "normalise_text": own.data.normalise_text}
    encoder = own.encoder.model_copy(update={"name": str(teacher.encoder.folder)})
    return tokenise(config.data.model_copy(update=data), encoder, config.tasks)


def _key(teacher: TeacherFiles, table: TokenTable, task: Task, num_threads: int, device: torch.device) -> str:
    """The hash, in hex, of all that decides the outputs; threads and kind of device decide their last digits."""
    parts = [FORMAT_VERSION, teacher.sha256, table.sha256(), task.name, _SPLIT, num_threads, device.type]
    if device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32:
        parts.append("tf32")
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _predict(teacher: TeacherFiles, table: TokenTable, task: Task, device: torch.device) -> np.ndarray:
    _, model = load_model(teacher.folder)
    outputs = predict(model.to(device), table, task, np.arange(table.num_rows))
    if sum_of(teacher.folder) != teacher.sha256:
        raise ConfigError(
            [f"objective.distill.teachers.{task.name}: {teacher.folder}: the model has changed since it was checked"]
        )
    return outputs


_SCHEMA = pa.schema([("output", pa.float32())])


def _write(path: Path, key: str, outputs: np.ndarray) -> None:
    flat = outputs.reshape(-1)
    batch = pa.RecordBatch.from_arrays([pa.array(flat)], schema=_SCHEMA)
    write_arrow(path, _SCHEMA, [batch], {"key": key, "shape": list(outputs.shape)})


def _open(path: Path, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The outputs in a file, mapped into memory; None where there is no file or where it is not what was written."""
    about, columns = map_arrow(path, _SCHEMA, lambda batch: batch.column("output").to_numpy()) or ({}, [])
    if about.get("key") != key or about["shape"] != list(shape):
        return None
    outputs: np.ndarray = columns[0].reshape(shape)
    return outputs
