"""Rows to a file in a task's own layout, for `data.more_rows`."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

from trainables.files import write_new
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
    write_new(path, sink.getvalue().encode())


def option_of(path: Path, task: Task, data: str) -> str:
    """The option that brings the file's rows into a trial: the bare name where it lies in the folder of the data."""
    name = path.name if path.absolute().parent == Path(data).expanduser().absolute() else str(path.absolute())
    return f"--set data.more_rows.{task.name}='{json.dumps([name], ensure_ascii=False)}'"
