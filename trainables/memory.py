"""What a training loop, and a process that runs one trial after the other, want of the C library."""

import contextlib
import ctypes
import functools
import gc
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


@functools.cache
def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for the next step instead of handing it back; True where that could be said.

    A step allocates and frees the same hundreds of megabytes as the one before.  By default glibc returns them, and the kernel
    zeroes each page again: a fifth of a training step on one CPU thread.  No number that is computed changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = {_M_MMAP_THRESHOLD: 32 * 2**20, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 * 2**20}
    return all(mallopt(key, value) == 1 for key, value in settings.items())


def hand_back_freed_memory() -> bool:
    """Gives the system what objects that are gone have left behind; True where that could be done.

    Called between two trials: the next one may be smaller, and other processes want the memory.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # what it keeps there no other trial on the same device could use
    if not sys.platform.startswith("linux"):
        return False
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return False
    return True


def forget_peak_memory(clear: Path = Path("/proc/self/clear_refs")) -> None:
    """Has the kernel count this process's peak of memory anew from here; nothing where the system does not let it."""
    with contextlib.suppress(OSError):
        clear.write_text("5", encoding="ascii")


def peak_memory_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The most memory that this process has held since its start, or since `forget_peak_memory`."""
    found = _bytes_of("VmHWM", status)
    if found is not None:
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes


def held_memory_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The memory that this process holds now; where the system does not tell, the most that it has held."""
    found = _bytes_of("VmRSS", status)
    return peak_memory_bytes(status) if found is None else found


def _bytes_of(key: str, status: Path) -> int | None:
    """A line of Linux's account of a process; None where there is none."""
    with contextlib.suppress(OSError, ValueError):
        values = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
        if key in values:
            return int(values[key].split()[0]) * 1024
    return None


def kill_me_first(score_file: Path = Path("/proc/self/oom_score_adj")) -> None:
    """Has the kernel, where memory runs out, take this process before any other; nothing where the system does not let it.

    Ray asks for the same, but can be told otherwise; and the driver must outlive its workers.
    """
    with contextlib.suppress(OSError):
        score_file.write_text("1000", encoding="utf-8")


def count_oom_kills(groups: Path = Path("/proc/self/cgroup"), mounts: Path = Path("/sys/fs/cgroup")) -> int:
    """Processes that the kernel has killed for memory in this one's control group, version 2 or 1; 0 where it does not say."""
    for folder, file in _memory_groups(groups, mounts):
        with contextlib.suppress(OSError, ValueError):
            counts = dict(line.split() for line in (folder / file).read_text(encoding="utf-8").splitlines())
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    return 0


def most_memory_bytes(groups: Path = Path("/proc/self/cgroup"), mounts: Path = Path("/sys/fs/cgroup")) -> int:
    """What this process and its like may hold: the machine's memory, or less where its control group says so; 0: not known."""
    try:
        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
    for folder, _ in _memory_groups(groups, mounts):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
                most = min(most, int((folder / name).read_text(encoding="ascii")))
    return most


def _memory_groups(groups: Path, mounts: Path) -> Iterator[tuple[Path, str]]:
    """Folders of the group, as the whole system and as a container see them, with the file that counts."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            for base in (mounts, mounts / "unified"):
                yield base / path.lstrip("/"), "memory.events"
        elif "memory" in controllers.split(","):
            yield mounts / "memory" / path.lstrip("/"), "memory.oom_control"
            yield mounts / "memory", "memory.oom_control"
