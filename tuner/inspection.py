"""What the doctor's looks have in common.  A driver may be at work: what it makes and removes meanwhile is no finding."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_MOST_LOOKS = 10


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, and what is to be done about it; empty: nothing."""

    seen: str
    to_do: str = ""


def walk(folder: Path) -> Iterator[Path]:
    """All that lies below a folder, in order; no link is followed, and what vanishes meanwhile is left out."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted((*folders, *files)))


def lasting(look: Callable[[], list[Finding]]) -> list[Finding]:
    """What is found twice in a row; nothing where one look finds nothing."""
    found = look()
    for _ in range(_MOST_LOOKS):
        if not found or (again := look()) == found:
            return found
        found = again
    return []  # it changes all the time: somebody is at work there
