"""What is shown on a terminal: texts of files and users cannot move its cursor, name its window or forge its lines."""

import os
import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Of the terminal, and of the direction of writing; all but the tab and the end of a line."""
_IN_LINES, _IN_A_LINE = re.compile(f"[{_CONTROL}]"), re.compile(f"[\t\n{_CONTROL}]")


def visible(text: str) -> str:
    """A text on one line whose control characters are shown by their numbers."""
    return _IN_A_LINE.sub(_number, text)


def visible_lines(text: str) -> str:
    """The same of a text that may have several lines."""
    return _IN_LINES.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1] if ord(found[0]) > 0xFF else f"\\x{ord(found[0]):02x}"


class SteadyConsole(Console):
    """A console that shows control characters by their numbers, and whose reader may leave.

    Where the reader leaves rich would end the process; this one says no more and lets the search go on.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments as rich makes them; styles and moves of the cursor are rich's own and stand beside their texts."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Sends to nowhere what is still to be said."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def errors_console() -> SteadyConsole:
    """For what went wrong: plain lines, as long as they are."""
    return SteadyConsole(stderr=True, soft_wrap=True, highlight=False, markup=False)
