"""One file to rows: separated by tabs, as CS224N's are, or commas; quoted as `csv` and pandas read it; columns found by name."""

import csv
import hashlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from trainables.data.rows import LeftOut, Rows
from trainables.parts import nearest
from trainables.tasks import Task

Separator = Literal["tab", "comma"]
_END = "\x00end of file\x00\n"
_SEPARATORS: dict[Separator, str] = {"tab": "\t", "comma": ","}


@dataclass
class FileRows:
    """What one file holds.

    Attributes:
        path: the file.
        sha256: of its raw bytes, in hex.
        num_rows: rows in it, used or not; the header and blank lines are none.
        ids, sentences, labels: of the rows that can be used; one list for each sentence column, in `sentences`.
        left_out: rows with an empty cell.
        problems: mistakes for which the file cannot be used, a sentence each.
    """

    path: Path
    sha256: str
    ids: list[str] = field(default_factory=list)
    sentences: tuple[list[str], ...] = ()
    labels: list[float] | None = None
    num_rows: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def rows(self) -> Rows:
        """The rows that can be used."""
        return Rows(self.ids, self.sentences, None if self.labels is None else np.array(self.labels, dtype=np.float32))


def read_file(path: Path, task: Task, *, labelled: bool) -> FileRows:
    """Reads one file; mistakes are collected, not raised.

    A row whose id, text or label is blank or missing is left out and listed under the line on which it starts (the header
    is line 1).

    Args:
        path: the file.
        task: names the columns and the range of the label.
        labelled: False for test files, whose label column, if there is one, is not looked at.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        return FileRows(path, "", problems=[f"{path}: cannot be read ({error.strerror})"])
    return read_bytes(raw, path, task, labelled=labelled)


def read_bytes(raw: bytes, path: Path, task: Task, *, labelled: bool) -> FileRows:
    """The same of a file's content; `path` is what it is called in mistakes."""
    out = FileRows(path, hashlib.sha256(raw).hexdigest())
    text = _decode(raw, out)
    if text is None:
        return out
    rows = _csv_rows(text, out, _SEPARATORS[task.separator])
    _, header = next(rows, (1, []))
    if out.problems or not _check_header(header, _columns(task, labelled), out):
        return out
    out.sentences = tuple([] for _ in task.sentence_columns)
    out.labels = [] if labelled else None
    for line, cells in rows:
        _add_row(out, task, line, cells, header)
    if not out.ids and not out.problems:
        out.problems.append(f"{path}: no row that can be used")
    return out


def separator_of(header: str, otherwise: Separator) -> Separator:
    """What separates the cells of a file by its first line: tabs if it holds one, else commas if it holds one of these."""
    return "tab" if "\t" in header else "comma" if "," in header else otherwise


def parse_label(text: str, task: Task) -> float:
    """A label, checked against the task.

    Raises:
        ValueError: no number, out of range, or no integer where the labels are classes.
    """
    rule = f"{task.label_low:g} to {task.label_high:g}"
    whole = task.target != "score"
    try:
        label = float(text)
    except ValueError:
        raise ValueError(f"a number from {rule} must stand here, but got {text!r}") from None
    if not task.label_low <= label <= task.label_high or (whole and not label.is_integer()):
        raise ValueError(f"{'a whole number' if whole else 'a number'} from {rule} must stand here, but got {text!r}")
    return label


def _columns(task: Task, labelled: bool) -> list[str]:
    return [*([task.id_column] if task.id_column else []), *task.sentence_columns, *([task.label_column] if labelled else [])]


def _decode(raw: bytes, out: FileRows) -> str | None:
    """The text, or None and a problem: an empty file, bad UTF-8, NUL bytes."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        out.problems.append(f"{out.path} line {line}: not UTF-8, byte 0x{raw[error.start]:02x} at byte {error.start} of the file")
        return None
    if not text.strip():
        out.problems.append(f"{out.path}: the file is empty")
        return None
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        out.problems.append(f"{out.path} line {line}: a NUL byte; is this a text file?")
        return None
    return text


def _csv_rows(text: str, out: FileRows, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows and the line on which each starts; a quote that is never closed is a problem."""
    if not text.endswith("\n"):
        text += "\n"
    # csv takes the end of the file for a closing quote; a last line of our own tells whether it did.
    reader = csv.reader(itertools.chain(io.StringIO(text, newline=""), [_END]), delimiter=separator)
    line = 1
    try:
        for cells in reader:
            if cells and cells[-1].endswith(_END):
                out.problems.append(f"{out.path} line {line}: a quote is opened in this row and never closed")
            elif cells and cells != [_END.rstrip("\n")]:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        out.problems.append(f"{out.path} line {line}: {error}")


def _check_header(header: list[str], columns: list[str], out: FileRows) -> bool:
    for name in columns:
        if name not in header:
            found = ", ".join(cell or "(no name)" for cell in header)
            out.problems.append(f"{out.path}: no column {name!r}{nearest(name, header)}; its columns are {found[:200]}")
        elif header.count(name) > 1:
            out.problems.append(f"{out.path}: column {name!r} stands {header.count(name)} times")
    return not out.problems


def _add_row(out: FileRows, task: Task, line: int, cells: list[str], header: list[str]) -> None:
    out.num_rows += 1
    columns = _columns(task, out.labels is not None)
    place = f"{out.path} line {line}"
    if len(cells) > len(header):
        out.problems.append(f"{place}: {len(cells)} cells under a header of {len(header)}")
        return
    named = dict(zip(header, cells, strict=False))
    values = [named.get(name, "") for name in columns]
    empty = [name for name, value in zip(columns, values, strict=True) if not value.strip()]
    if empty:
        out.left_out.append(LeftOut(out.path.name, line, ", ".join(empty), "empty"))
        return
    if any("\n" in value and _SEPARATORS[task.separator] in value for value in values) and task.separator == "tab":
        out.problems.append(f"{place}: a quoted cell runs over tabs and line ends, so a quote is missing or too many")
        return
    if out.labels is not None:
        try:
            out.labels.append(parse_label(values.pop(), task))
        except ValueError as error:
            out.problems.append(f"{place}, column {task.label_column}: {error}")
            return
    out.ids.append(values.pop(0) if task.id_column else str(out.num_rows))
    for column, value in zip(out.sentences, values, strict=True):
        column.append(value)
