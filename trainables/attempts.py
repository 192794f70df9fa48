"""Which attempt at a trial may write in its folder: the newest one that the driver has begun, wherever an older one still lives.

A worker on a machine that is cut off or frozen is taken for dead, and its trial is given to another.  When the machine is back,
the first worker goes on where it stood, in the same folder.  So the driver numbers the attempts in `trials/N/attempt`, which it
alone writes, before it hands a trial out.  Each worker has its own number in its order, and looks before it writes: where the
file holds a higher one, it is no longer the one.  (A lower one is an old view of a network's file.)

Source: the sequencers of Burrows 2006, "The Chubby lock service for loosely-coupled distributed systems", section 2.4; here it is
the writer that looks, for a file system does not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.files import write_atomically

ATTEMPT = "attempt"
"""Name of the file, and of the number in an order."""


class SupersededError(RuntimeError):
    """Another worker has the trial by now: nothing may be written any more."""


def as_next_attempt(order: Mapping[str, Any]) -> dict[str, Any]:
    """An order whose worker is the only one that may write in the order's `folder` from now on.

    Raises:
        OSError: such as a full disk; the attempt before still stands.
    """
    folder = Path(order["folder"])
    attempt = _newest(folder) + 1
    write_attempt(folder, attempt)
    return {**order, ATTEMPT: attempt}


def write_attempt(folder: Path, attempt: int) -> None:
    """Makes an attempt the only one that may write in a folder.

    Raises:
        OSError: such as a full disk; the attempt before still stands.
    """
    write_atomically(folder / ATTEMPT, f"{attempt}\n".encode())


def check_attempt(folder: Path, attempt: int) -> None:
    """Looks whether an attempt at the trial of `folder` still is the newest one.

    Raises:
        SupersededError: it is not.
    """
    newest = _newest(folder)
    if newest > attempt:
        raise SupersededError(f"{folder}: attempt {attempt} was taken for dead, attempt {newest} has the trial")


def _newest(folder: Path) -> int:
    """The number of the newest attempt, from 1; 0 where none is known."""
    try:
        return int((folder / ATTEMPT).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
