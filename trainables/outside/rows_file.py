"""Rows to a file in a task's own layout, for `data.more_rows`."""

import csv
import hashlib
import io
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from trainables.tasks import Task


def write_rows(path: Path, task: Task, texts: Sequence[str], labels: Sequence[int]) -> None:
    """Writes the rows of a task of single sentences as its training file has them.

    Ids are `outside-` and the beginning of the text's sha256: the same text has the same id in every file.

    Raises:
        FileExistsError: there is a file already.
        OSError: it cannot be written; there is none of it then.
    """
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter="\t" if task.separator == "tab" else ",", lineterminator="\n")
    id_columns = [task.id_column] if task.id_column else []
    writer.writerow(["", *id_columns, *task.sentence_columns, task.label_column])
    for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
        ids = [f"outside-{hashlib.sha256(text.encode()).hexdigest()[:16]}"] if task.id_column else []
        writer.writerow([number, *ids, text, int(label)])
    _write_new(path, sink.getvalue().encode())


def _write_new(path: Path, content: bytes) -> None:
    """Writes a file aside, syncs it and gives it its name: a reader sees all of it or none, and no other file is written over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}")  # not mkstemp's, which others could not read
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _name_it(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _name_it(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: an empty file, which no reader takes, holds the name until ours has it
        path.touch(exist_ok=False)
        os.replace(aside, path)


def option_of(path: Path, task: Task, data: str) -> str:
    """The option that brings the file's rows into a trial: the bare name where it lies in the folder of the data."""
    name = path.name if path.absolute().parent == Path(data).expanduser().absolute() else str(path.absolute())
    return f"--set data.more_rows.{task.name}='{json.dumps([name], ensure_ascii=False)}'"
