"""Tables of numbers for people: as wide as a terminal is, or as plain aligned text for a pipe."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.box import Box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tuner.console import visible

_GAP = 2
_RULED_HEAD = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")


@dataclass(frozen=True)
class Column:
    """A column as text: its name, a cell a row, and whether it is a number (set to the right)."""

    name: str
    cells: tuple[str, ...]
    is_number: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", visible(self.name))
        object.__setattr__(self, "cells", tuple(map(visible, self.cells)))

    @property
    def width(self) -> int:
        """Characters from edge to edge, the name folded into two lines."""
        return max(map(len, (*_folded(self.name), *self.cells)))


def lay_out(fixed: Sequence[Column], varying: Sequence[Column], width: int) -> list[list[Column]]:
    """Tables of at most `width` characters: `fixed` and as many as fit, then the rest behind the first two of `fixed` again."""
    blocks = [list(fixed)]
    for column in varying:
        taken = sum(c.width + _GAP for c in blocks[-1])
        if taken + column.width > width and not (len(blocks) > 1 and len(blocks[-1]) == 2):
            blocks.append(list(fixed[:2]))
        blocks[-1].append(column)
    return blocks


def draw(columns: Sequence[Column], styles: Sequence[str]) -> Table:
    """A table for a terminal; `styles` holds rich's style of each row."""
    table = Table(box=_RULED_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        header = Text("\n".join(_folded(column.name)), style="bold")
        side: Literal["left", "right"] = "right" if column.is_number else "left"
        table.add_column(header, justify=side, no_wrap=True, min_width=column.width, vertical="bottom")
    for index, style in enumerate(styles):
        table.add_row(*(escape(column.cells[index]) for column in columns), style=style)
    return table


def align(columns: Sequence[Column]) -> list[str]:
    """The lines of a table as plain text, names on the first."""
    return ["  ".join(cells).rstrip() for cells in zip(*map(_justified, columns), strict=True)]


def as_markdown(columns: Sequence[Column]) -> list[str]:
    """The lines of a table in Markdown; what stands in a cell stays in it and is shown as it is."""
    rows = zip(*(map(_plain_markdown, (column.name, *column.cells)) for column in columns), strict=True)
    head, *lines = (f"| {' | '.join(cells)} |" for cells in rows)
    return [head, "|" + "|".join("---:" if column.is_number else "---" for column in columns) + "|", *lines]


def _plain_markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~!&])", r"\\\1", text)


def _folded(name: str) -> list[str]:
    """A name as one line or two, cut after `_` or `.` where the longer of the two is shortest."""
    cuts = [match.end() for match in re.finditer(r"[_.]", name)]
    at = min(cuts, key=lambda cut: max(cut, len(name) - cut), default=None)
    return [name] if at is None or len(name) <= 7 else [name[:at], name[at:]]


def _justified(column: Column) -> list[str]:
    """Name and cells, all as wide as the widest."""
    texts = (column.name, *column.cells)
    width = max(map(len, texts))
    return [text.rjust(width) if column.is_number else text.ljust(width) for text in texts]
