"""Further training rows of a task: files in its own layout beside those of the source (`data.more_rows`)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trainables.config_parts import HUB_SOURCE, SAMPLE_SOURCE, DataConfig
from trainables.data.cs224n import FileRows
from trainables.data.rows import DataError, DataSet, Rows
from trainables.tasks import Task, TaskSet

MAKER = "python -m trainables.outside"


def absolute_files(names: Iterable[str], source: str) -> list[str]:
    """Absolute paths of further files: those given relative are looked for in the folder `source`, or the working directory."""
    base = Path() if source in {SAMPLE_SOURCE, HUB_SOURCE} else Path(source).expanduser()
    return [str((base / Path(name).expanduser()).absolute()) for name in names]


def lies_beside(file: str, source: str) -> bool:
    """Whether a file of further rows, an absolute path, lies in the folder of the source."""
    return source not in {SAMPLE_SOURCE, HUB_SOURCE} and Path(file).parent == Path(source)


def names_beside(config: DataConfig) -> dict[str, list[str]]:
    """Task -> its files of further rows, those in the source's folder by their names alone: so they are found where it has moved.

    Tasks without such files are left out.
    """
    return {
        name: [Path(file).name if lies_beside(file, config.source) else file for file in files]
        for name, files in config.more_rows.items()
        if any(lies_beside(file, config.source) for file in files)
    }


def more_files(config: DataConfig, tasks: TaskSet, source_files: Iterable[str]) -> list[tuple[Path, Task]]:
    """The files with further rows and whose they are, in the order of the tasks.

    Args:
        config: names them.
        tasks: whose rows are read; files of others are passed over.
        source_files: names of the source's files.

    Raises:
        DataError: a file is not there, or has the name of another one, under which its hash and its rows would be told.
    """
    named = {name: absolute_files(files, config.source) for name, files in config.more_rows.items()}
    files = [(Path(file), task) for task in tasks.tasks for file in named.get(task.name, ())]
    count = Counter([*source_files, *(path.name for path, _ in files)])
    problems = []
    for path, task in files:
        where = f"data.more_rows.{task.name}: {path}"
        if not path.is_file():
            problems.append(f"{where}: no such file; {MAKER} makes such files")
        elif count[path.name] > 1:
            problems.append(f"{where}: another file is called {path.name}, too; give it a name of its own")
    if problems:
        raise DataError(problems)
    return files


def append_rows(data_set: DataSet, more: Sequence[tuple[Task, FileRows]]) -> DataSet:
    """The data set with further rows behind the training rows of their tasks, in the order of the files.

    An id that is taken already gets the file's name behind it: `12` of more.csv becomes `12@more.csv`.
    """
    splits = {name: dict(by_split) for name, by_split in data_set.splits.items()}
    for task, file in more:
        splits[task.name]["train"] = _joined(splits[task.name]["train"], file.rows(), file.path.name)
    return replace(
        data_set,
        splits=splits,
        left_out=[*data_set.left_out, *(row for _, file in more for row in file.left_out)],
        rows_read=data_set.rows_read | {file.path.name: file.num_rows for _, file in more},
        hashes=data_set.hashes | {file.path.name: file.sha256 for _, file in more},
    )


def _joined(rows: Rows, more: Rows, file_name: str) -> Rows:
    taken = set(rows.ids)
    ids = [f"{name}@{file_name}" if name in taken else name for name in more.ids]
    sentences = tuple([*one, *other] for one, other in zip(rows.sentences, more.sentences, strict=True))
    assert rows.labels is not None
    assert more.labels is not None
    return Rows([*rows.ids, *ids], sentences, np.concatenate([rows.labels, more.labels]))
