"""The processes of one bench: found by a mark in their environment, which children inherit, so that no other is touched."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "TRITUNE_FAULTS_MARK"
_SHARED_MEMORY = "/dev/shm/"
_WORKER = re.compile(rb"ray::\w*Trainable")  # of the class that Tune makes of ours, and what it does


def marked(mark: str) -> Iterator[int]:
    """Living processes that carry the mark."""
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0") and not _is_zombie(folder):
                yield int(folder.name)
        except OSError:
            continue


def workers(mark: str) -> list[int]:
    """Those of them that train trials."""
    found = []
    for pid in marked(mark):
        try:
            if _WORKER.match(Path(f"/proc/{pid}/cmdline").read_bytes()):
                found.append(pid)
        except OSError:
            continue
    return sorted(found)


def shared_memory(mark: str) -> set[str]:
    """Files in /dev/shm that they have mapped."""
    files = set()
    for pid in marked(mark):
        try:
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        except OSError:
            continue
        files |= {line[line.index(_SHARED_MEMORY) :].removesuffix(" (deleted)") for line in lines if _SHARED_MEMORY in line}
    return files


def wait_until_gone(mark: str, timeout_seconds: float) -> tuple[list[int], float]:
    """Those that are still there after so long, and how long it took until none was."""
    begun = time.monotonic()
    while (left := list(marked(mark))) and time.monotonic() - begun < timeout_seconds:
        time.sleep(0.1)
    return left, time.monotonic() - begun


def end_all(mark: str) -> None:
    """Kills what a test has left."""
    for pid in marked(mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def describe(pid: int) -> str:
    """A process in a few words."""
    try:
        return f"{pid} {Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ')[:100].decode(errors='replace').strip()}"
    except OSError:
        return str(pid)


def _is_zombie(folder: Path) -> bool:
    return (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
