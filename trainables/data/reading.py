"""The rows of a source: the embedded sample, a folder of CS224N files, or the hub's data sets written as such a folder.

To its training rows come those of further files, and last of all changed copies of both (`more_rows`, `eda`).  Nothing is lost
in silence: a row with an empty cell is left out and listed by file, line and column, and a file that is wrong in any other way
is an error before anything starts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.config_parts import HUB_SOURCE, SAMPLE_SOURCE, DataConfig
from trainables.data.confirm_part import split_dev
from trainables.data.cs224n import FileRows, read_file
from trainables.data.eda import EDA_VERSION, add_copies
from trainables.data.hub import hub_folder
from trainables.data.more_rows import absolute_files, append_rows, more_files
from trainables.data.rows import DataError, DataSet, LeftOut, Rows, Split
from trainables.data.sample import SAMPLE_SHA256, make_sample
from trainables.data.synonyms import synonym_hashes
from trainables.files import sha256_of
from trainables.parts import nearest
from trainables.tasks import CS224N, Task, TaskSet

SPLIT_FILES: dict[Split, str] = {"train": "train", "dev": "dev", "test": "test-student"}
MAX_PROBLEMS_PER_FILE = 10

__all__ = [
    "DataError",
    "DataSet",
    "LeftOut",
    "Rows",
    "Split",
    "absolute_files",
    "hash_source",
    "key_parts",
    "load_rows",
    "look_at_rows",
    "normalise_text",
    "normalised",
    "read_dev",
]


def load_rows(config: DataConfig, tasks: TaskSet = CS224N) -> DataSet:
    """All rows that a config means.

    To the training rows of the source come first those of `config.more_rows`, then, where `config.eda` says so, changed copies
    of all of them, which stand behind all originals; between the two, all texts are normalised if `config.normalise_text`.

    Raises:
        DataError: the folder or a file is missing or is not as it should be; every mistake of every file at once.
    """
    data_set = append_rows(*_read_all(config, tasks))
    if config.normalise_text:
        for by_split in data_set.splits.values():
            by_split.update({split: normalised(rows) for split, rows in by_split.items()})
    if config.confirm_share:
        _split_dev(data_set, config.confirm_share, tasks)
    if _num_copies(config, tasks):
        training = add_copies({name: by_split["train"] for name, by_split in data_set.splits.items()}, config.eda)
        for name, rows in training.items():
            data_set.splits[name]["train"] = rows
        data_set.hashes.update(synonym_hashes())
    return data_set


def look_at_rows(config: DataConfig, tasks: TaskSet = CS224N) -> None:
    """Finds the mistakes that `load_rows` would; the sample as it is has none, and is not made for that.

    Raises:
        DataError: as `load_rows`.
    """
    if config.source == SAMPLE_SOURCE and not any(config.more_rows.values()):
        _check_tasks_of_sample(tasks)
    else:
        load_rows(config, tasks)


def read_dev(config: DataConfig, task: Task) -> tuple[Rows, str, str]:
    """All dev rows of one task, as they stand in the source, with the name and the sha256 of what they were read from.

    Nothing is downloaded for that.

    Raises:
        DataError: the file is missing or is not as it should be, or the source is the hub.
    """
    if config.source == SAMPLE_SOURCE:
        _check_tasks_of_sample(TaskSet(tasks=(task,)))
        return make_sample()[task.name]["dev"], SAMPLE_SOURCE, SAMPLE_SHA256
    if config.source == HUB_SOURCE:
        raise DataError([f"{HUB_SOURCE}: its rows are read when a search begins, and not again"])
    path = source_folder(config) / f"{task.file_stem}-{SPLIT_FILES['dev']}.csv"
    file = read_file(path, task, labelled=True)
    if file.problems:
        raise DataError(_capped(file))
    return file.rows(), path.name, file.sha256


def hash_source(config: DataConfig, tasks: TaskSet = CS224N) -> dict[str, str]:
    """The `hashes` of the `DataSet`, without reading its rows.

    Raises:
        DataError: the folder or a file is missing.
    """
    if config.source == SAMPLE_SOURCE:
        hashes = {SAMPLE_SOURCE: SAMPLE_SHA256}
    else:
        hashes = {path.name: sha256_of(path) for path, _, _ in _files_of(source_folder(config), tasks)}
    hashes |= {path.name: sha256_of(path) for path, _ in more_files(config, tasks, hashes)}
    return hashes | (synonym_hashes() if _num_copies(config, tasks) else {})


def key_parts(config: DataConfig, tasks: TaskSet, hashes: Mapping[str, str]) -> dict[str, Any]:
    """What decides which rows come to those of the source, and which of dev are kept, for a key; empty where nothing does.

    Args:
        config: names files and copies.
        tasks: whose rows are read.
        hashes: of the data set, by file name.
    """
    files = {task: [hashes[Path(file).name] for file in config.more_rows.get(task, ())] for task in tasks.names}
    parts: dict[str, Any] = {"confirm_share": config.confirm_share} if config.confirm_share else {}
    if any(files.values()):
        parts["more_rows"] = {task: sums for task, sums in files.items() if sums}
    if copies := _num_copies(config, tasks):
        parts["eda"] = {"version": EDA_VERSION, "copies": copies, "share": config.eda.share}
    return parts


def source_folder(config: DataConfig) -> Path:
    """The folder with the CS224N files of a source that is not the sample; hub data is downloaded into it first.

    Raises:
        DataError: no such folder, or the hub cannot be reached.
    """
    if config.source == HUB_SOURCE:
        return hub_folder()
    folder = Path(config.source).expanduser()
    if not folder.is_dir():
        what = "this is a file" if folder.exists() else "no such folder"
        hint = nearest(folder.name, [SAMPLE_SOURCE, HUB_SOURCE])
        raise DataError([f"{config.source}: {what}{hint}; data is `sample`, `hub`, or a folder with the CS224N files"])
    return folder.resolve()


def normalise_text(text: str) -> str:
    """CS224N's `preprocess_string`: lower case, a space before each of `. ? , '`, whitespace squeezed."""
    text = text.lower()
    for mark in ".?,'":
        text = text.replace(mark, f" {mark}")
    return " ".join(text.split())


def normalised(rows: Rows) -> Rows:
    """Rows with all their sentences as `normalise_text` makes them."""
    return Rows(rows.ids, tuple([normalise_text(text) for text in column] for column in rows.sentences), rows.labels)


def _num_copies(config: DataConfig, tasks: TaskSet) -> dict[str, int]:
    """Changed copies of each training row, of the tasks that have some."""
    return {name: config.eda.copies[name] for name in tasks.names if config.eda.copies.get(name)}


def _read_all(config: DataConfig, tasks: TaskSet) -> tuple[DataSet, list[tuple[Task, FileRows]]]:
    """The rows of the source and those of further files; the mistakes of both at once."""
    data_set, problems, more = None, [], []
    try:
        data_set = _sample(tasks) if config.source == SAMPLE_SOURCE else _read_folder(source_folder(config), tasks)
    except DataError as error:
        problems += error.problems
    try:
        names = data_set.hashes if data_set else ()
        more = [(task, read_file(path, task, labelled=True)) for path, task in more_files(config, tasks, names)]
    except DataError as error:
        problems += error.problems
    problems += [problem for _, file in more for problem in _capped(file)]
    if problems:
        raise DataError(problems)
    assert data_set is not None
    return data_set, more


def _sample(tasks: TaskSet) -> DataSet:
    _check_tasks_of_sample(tasks)
    made = make_sample()
    splits = {name: made[name] for name in tasks.names}
    num_rows = sum(rows.num_rows for by_split in splits.values() for rows in by_split.values())
    return DataSet(splits, [], {SAMPLE_SOURCE: num_rows}, {SAMPLE_SOURCE: SAMPLE_SHA256}, None)


def _check_tasks_of_sample(tasks: TaskSet) -> None:
    strangers = [task.name for task in tasks.tasks if CS224N.by_name.get(task.name) != task]
    if strangers:
        has = f"it has rows for {', '.join(CS224N.names)} as they are by default"
        raise DataError([f"{SAMPLE_SOURCE}: {has}, not for {', '.join(strangers)}; --data DIR reads files"])


def _read_folder(folder: Path, tasks: TaskSet) -> DataSet:
    splits: dict[str, dict[Split, Rows]] = {name: {} for name in tasks.names}
    files = []
    for path, task, split in _files_of(folder, tasks):
        file = read_file(path, task, labelled=split != "test")
        splits[task.name][split] = file.rows()
        files.append(file)
    problems = [problem for file in files for problem in _capped(file)]
    if problems:
        raise DataError(problems)
    return DataSet(
        splits=splits,
        left_out=[row for file in files for row in file.left_out],
        rows_read={file.path.name: file.num_rows for file in files},
        hashes={file.path.name: file.sha256 for file in files},
        folder=folder,
    )


def _files_of(folder: Path, tasks: TaskSet) -> list[tuple[Path, Task, Split]]:
    """The files of all tasks; a test file only where there is one."""
    files, problems = [], []
    for task in tasks.tasks:
        for split, suffix in SPLIT_FILES.items():
            path = folder / f"{task.file_stem}-{suffix}.csv"
            if path.is_file():
                files.append((path, task, split))
            elif split != "test":
                problems.append(f"{path}: no such file")
    if problems:
        raise DataError(problems)
    return files


def _capped(file: FileRows) -> list[str]:
    more = len(file.problems) - MAX_PROBLEMS_PER_FILE
    return file.problems[:MAX_PROBLEMS_PER_FILE] + ([f"{file.path}: and {more} more"] if more > 0 else [])


def _split_dev(data_set: DataSet, share: float, tasks: TaskSet) -> None:
    problems: list[str] = []
    for task in tasks.tasks:
        by_split = data_set.splits[task.name]
        try:
            by_split["dev"], by_split["confirm"], data_set.confirm_places[task.name] = split_dev(task, by_split["dev"], share)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
