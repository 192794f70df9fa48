"""Room on the disks that a search writes to, looked at before it runs out.

Ray, SQLite and whatever else writes meet a full disk each in their own way, and not all of them say so.
"""

import contextlib
import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path

MIB = 2**20
KEPT_CHECKPOINTS = 2
"""`trainables.session.NUM_KEPT`, which is not imported, for torch would come with it; a test holds them together."""
RESERVES = {"the search's folder": 4 * MIB, "Ray's temporary folder": 32 * MIB}
"""What must be free: for the ledger's next events, and for Ray's logs and sockets.  What else does not fit says so."""
_SECONDS = 1.0


class Room:
    """Looks whether there is room.

    Args:
        places: a name in `RESERVES` -> a folder there, which exists.
    """

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = dict(places)
        self._next = 0.0

    def check(self) -> None:
        """Looks, at most once a second.

        Raises:
            OSError: ENOSPC; names the place, and what is free and must be.
        """
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS
            for name, folder in self._places.items():
                check_room(name, folder)


def check_room(name: str, folder: Path) -> None:
    """Looks at one place.

    Raises:
        OSError: as `Room.check`.
    """
    try:
        free = free_bytes(folder)
    except FileNotFoundError:  # somebody removed it: whoever writes there will say so
        return
    if free < RESERVES[name]:
        rule = f"{free / MIB:.1f} MiB are free in {name}, at least {RESERVES[name] / MIB:g} MiB must be"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {rule}", str(folder))


TEXT_BYTES = 64 * 1024
"""Of an ended trial: its log, a stack, its rows in the ledger, and the folders they lie in."""


def most_bytes(*, model_bytes: int, checkpoint_bytes: int, num_trials: int, slots: int, keep_models: int) -> int:
    """What `trials/` and the ledger of a search take at most, at any moment.

    A trial that may go on has its newest checkpoints, one more while that is written, the model of its best report and the one
    before while it is replaced; one that has ended has its model, if it is among the best, and text.  What an export takes, and
    Ray's temporary folder, come on top.

    Args:
        model_bytes: of the largest trial (`trainables.sizes`).
        checkpoint_bytes: likewise.
        num_trials: in all.
        slots: trials at once; of those that were interrupted there are no more.
        keep_models: ended trials that keep their weights.
    """
    at_work = running_bytes(model_bytes=model_bytes, checkpoint_bytes=checkpoint_bytes)
    return slots * at_work + (keep_models + 1) * model_bytes + num_trials * TEXT_BYTES


def usual_bytes(*, model_bytes: int, checkpoint_bytes: int, num_trials: int, slots: int, keep_models: int) -> int:
    """As `most_bytes`, but between two reports: what is only there while something is written is not counted.

    Nor is the model of a running trial's best report, whose files are mostly those of a checkpoint.
    """
    at_work = KEPT_CHECKPOINTS * checkpoint_bytes
    return slots * at_work + keep_models * model_bytes + num_trials * TEXT_BYTES


def running_bytes(*, model_bytes: int, checkpoint_bytes: int) -> int:
    """What one trial that may go on takes at most, wherever it works."""
    return (KEPT_CHECKPOINTS + 1) * checkpoint_bytes + 2 * model_bytes


def used_bytes(folder: Path) -> int:
    """What lies below a folder; each file once, however many names it has."""
    sizes: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # gone meanwhile
            stat = path.lstat()
            sizes[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
    return sum(sizes.values())


def describe_need(folder: Path, most: int, what: str = "trials and ledger") -> str:
    """What a search takes on the disk at most, and of what that is made, beside what is free there, in words."""
    free = free_bytes(folder)
    too_little = "; a full disk ends the search with exit code 4" if free + used_bytes(folder) < most else ""
    return f"on disk at most {in_words(most)} ({what}); {in_words(free)} are free{too_little}"


def in_words(num_bytes: int) -> str:
    """A number of bytes for people."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write to the file system of a folder."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
