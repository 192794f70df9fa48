"""What `python -m trainables.predict` is asked for: checked and read before any model is loaded."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.config import TrialConfig
from trainables.data.cs224n import Separator, read_bytes, separator_of
from trainables.data.reading import MAX_PROBLEMS_PER_FILE
from trainables.data.rows import DataError, Rows
from trainables.exported import read_export
from trainables.files import problems_of_new_file
from trainables.parts import ConfigError, Problems, nearest
from trainables.tasks import Task

STDIN = Path("-")
_STDIN_NAME = Path("stdin")
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class Asked:
    """The command line's words; `python -m trainables.predict --help` says what each means."""

    folder: Path
    task: str
    sentences: Sequence[str]
    file: Path | None
    out: Path | None


@dataclass(frozen=True)
class Request:
    """What is asked for, checked and read.

    Attributes:
        folder: of the model, as `trainables.model.files.load_model` reads it.
        config: that it was trained with.
        task: whose rows they are.
        rows: without labels.
    """

    folder: Path
    config: TrialConfig
    task: Task
    rows: Rows


def look(asked: Asked, read_stdin: Callable[[], bytes]) -> Request:
    """Checks and reads all that is asked for.

    Raises:
        ConfigError: every mistake in it.
    """
    problems = Problems()
    found = problems.attempt(lambda: read_export(asked.folder))
    problems.add(*_wrong_options(asked))
    task = rows = None
    if found is not None:
        config = found[1]
        task = problems.attempt(lambda: _find_task(asked.task, config))
    if task is not None:
        rows = problems.attempt(lambda: _rows_of(asked, task, read_stdin))
    problems.raise_any()
    assert found is not None
    assert task is not None
    assert rows is not None
    return Request(*found, task, rows)


def _wrong_options(asked: Asked) -> Iterator[str]:
    if asked.file is not None and asked.sentences:
        yield f"--file goes without sentences, but got {len(asked.sentences)}"
    if asked.file is None and asked.out is not None:
        yield "--out is for --file"
    if asked.out is not None:
        yield from problems_of_new_file(asked.out)


def _find_task(name: str, config: TrialConfig) -> Task:
    known = config.tasks
    if name not in known.names:
        raise ConfigError([f"--task {name}: no such task{nearest(name, known.names)}; this model's are {', '.join(known.names)}"])
    return known.by_name[name]


def _rows_of(asked: Asked, task: Task, read_stdin: Callable[[], bytes]) -> Rows:
    if asked.file is None:
        return _row_of(asked.sentences, task)
    if asked.file == STDIN:
        return read_rows(read_stdin(), _STDIN_NAME, task)
    try:
        raw = asked.file.read_bytes()
    except OSError as error:
        raise DataError([f"--file {asked.file}: cannot be read ({error.strerror})"]) from None
    return read_rows(raw, asked.file, task)


def _row_of(sentences: Sequence[str], task: Task) -> Rows:
    columns = task.sentence_columns
    if len(sentences) != len(columns):
        wanted = f"{len(columns)} sentence{'s' * (len(columns) > 1)} ({', '.join(columns)})"
        raise DataError([f"--task {task.name}: {wanted} must stand here, or --file ROWS, but got {len(sentences) or 'none'}"])
    named = list(zip(columns, sentences, strict=True))
    problems = [f"{name}: a text must stand here, but it is empty" for name, text in named if not text.strip()]
    problems += [f"{name}: UTF-8 must stand here, but got {text!r}" for name, text in named if not _is_text(text)]
    if problems:
        raise DataError(problems)
    return Rows(["1"], tuple([text] for text in sentences), None)


def _is_text(text: str) -> bool:
    """False where the command line had bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cells(header: str, separator: Separator) -> list[str]:
    """Of a first line; none of one that `csv` refuses, which reading the whole file tells with file and line."""
    try:
        return next(csv.reader([header], delimiter="\t" if separator == "tab" else ","), [])
    except csv.Error:
        return []


def read_rows(raw: bytes, name: Path, task: Task) -> Rows:
    """The rows of a file in the task's layout or with commas; its label column, if there is one, is not looked at.

    Args:
        raw: what the file holds.
        name: what it is called in mistakes.
        task: names the columns of the sentences and of the ids; rows of a file without ids are numbered from 1.

    Raises:
        DataError: no such column, a row that is no row, or with an empty cell; each with file, line and column.
    """
    header = _LINE_END.split(raw, maxsplit=1)[0].decode("utf-8-sig", errors="replace")
    separator = separator_of(header, task.separator)
    has_ids = task.id_column is not None and task.id_column in _cells(header, separator)
    layout = task.model_copy(update={"separator": separator, "id_column": task.id_column if has_ids else None})
    file = read_bytes(raw, name, layout, labelled=False)
    # Who asks for predictions wants one for each row: what training leaves out, and tells, is a mistake here.
    problems = [*file.problems, *(f"{name} line {row.line}, column {row.column}: {row.why}" for row in file.left_out)]
    if len(problems) > MAX_PROBLEMS_PER_FILE:
        problems = [*problems[:MAX_PROBLEMS_PER_FILE], f"{name}: and {len(problems) - MAX_PROBLEMS_PER_FILE} more"]
    if problems:
        raise DataError(problems)
    return file.rows()
