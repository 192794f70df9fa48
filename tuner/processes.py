"""Processes of this machine: who is there, who holds a file's lock, and what they may use."""

import errno
import fcntl
import getpass
import os
from pathlib import Path

from trainables.heartbeat import process_state

_ENDED = frozenset({"Z", "X"})
"""The kernel's letters for a process that has ended: its parent has not asked how yet."""
_HELD_ELSEWHERE = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})


def count_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def user_name() -> str:
    """Whose process this is; the number of a user without a name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def is_alive(pid: int) -> bool:
    """Whether a process with this number is at work, whoever owns it; one that has ended and waits for its parent is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process_state(pid) not in _ENDED


def is_locked(file: Path) -> bool:
    """Whether a process holds a file's lock.

    It is asked for a lock that many can have at once, so that two who ask do not take each other for its holder.  A file that we
    may not open, or that is a link, nobody is said to hold.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _HELD_ELSEWHERE
    finally:
        os.close(handle)
    return False
