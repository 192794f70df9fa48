"""Texts of another source: any CSV or TSV file with a column of text and, where there is one, a column of labels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data.cs224n import Separator, parse_label, read_file, separator_of
from trainables.data.reading import normalise_text
from trainables.data.rows import DataError, Rows
from trainables.tasks import Task

MAX_SHOWN = 10


@dataclass(frozen=True)
class Texts:
    """Texts of another source.

    Attributes:
        texts: on one line each.
        labels: the task's classes, int64 `[num_texts]`; None where the file has none.
        num_left_out: rows with an empty cell.
        num_known: rows that are rows of the task already, or stand in the file before.
    """

    texts: list[str]
    labels: np.ndarray | None
    num_left_out: int = 0
    num_known: int = 0


def read_texts(
    path: Path, task: Task, *, text_column: str, label_column: str | None, classes: Mapping[str, int] | None = None
) -> Texts:
    """The texts of a file, which is separated by tabs if its first line holds one, else by commas.

    Args:
        path: the file.
        task: whose classes the labels are.
        text_column: heading of the texts.
        label_column: heading of the labels; None: labels are not read.
        classes: label as it stands in the file -> class; None: the classes themselves stand there.

    Raises:
        DataError: no such file or column, mistakes in it, or labels that are no classes; all at once.
    """
    columns = (text_column, *([label_column] if label_column else []))
    if len(set(columns)) < len(columns):
        raise DataError([f"text and label must stand in two columns, but got {text_column} for both"])
    file = read_file(path, _layout(path, columns), labelled=False)
    if file.problems:
        raise DataError(file.problems[:MAX_SHOWN])
    texts = [" ".join(text.split()) for text in file.sentences[0]]
    labels = _classes_of(path, file.sentences[1], task, classes) if label_column else None
    return Texts(texts, labels, num_left_out=len(file.left_out))


def parse_classes(text: str, task: Task) -> dict[str, int]:
    """`1=0,2=1` as label in the file -> class of the task.

    Raises:
        DataError: a part without `=`, twice the same label, or what is no class of the task.
    """
    found: dict[str, int] = {}
    problems = []
    for part in text.split(","):
        label, equals, value = (piece.strip() for piece in part.rpartition("="))
        if not equals or not label or label in found:
            problems.append(f"--labels wants LABEL=CLASS for each label once, such as 1=0,2=1, but got {part!r}")
            continue
        try:
            found[label] = int(parse_label(value, task))
        except ValueError as error:
            problems.append(f"--labels {part}: {error}")
    if problems:
        raise DataError(problems)
    return found


def without_known(texts: Texts, known: Iterable[Rows]) -> Texts:
    """The texts that are no row of the task, in whatever split, and each of them once; capitals and spaces make no difference."""
    seen = {_plain(text) for rows in known for column in rows.sentences for text in column}
    kept = []
    for number, text in enumerate(texts.texts):
        if _plain(text) not in seen:
            seen.add(_plain(text))
            kept.append(number)
    labels = None if texts.labels is None else texts.labels[kept]
    return Texts([texts.texts[i] for i in kept], labels, texts.num_left_out, len(texts.texts) - len(kept))


def _plain(text: str) -> str:
    return normalise_text(text).replace(" ", "")


def _layout(path: Path, columns: tuple[str, ...]) -> Task:
    """The file seen as a task without ids whose sentences are the columns; both are read as they stand."""
    separator: Separator
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            separator = separator_of(file.readline(), "comma")
    except OSError:
        separator = "comma"  # `read_file` says what is wrong
    return Task(
        name="outside",
        title="texts of another source",
        sentence_columns=columns,
        label_column="\x00",
        target="binary",
        metric="accuracy",
        file_stem="outside",
        id_column=None,
        separator=separator,
    )


def _classes_of(path: Path, labels: list[str], task: Task, classes: Mapping[str, int] | None) -> np.ndarray:
    found: dict[str, int] = {}
    strangers = []
    for label in dict.fromkeys(text.strip() for text in labels):
        try:
            found[label] = int(parse_label(label, task)) if classes is None else classes[label]
        except (ValueError, KeyError):
            strangers.append(label)
    if strangers:
        shown = ", ".join(strangers[:MAX_SHOWN]) + (", ..." if len(strangers) > MAX_SHOWN else "")
        raise DataError([f"{path}: no class of {task.name} is known for the labels {shown}; --labels {strangers[0]}=0 names it"])
    return np.array([found[text.strip()] for text in labels], dtype=np.int64)
