"""A trial's worker, looked at where it runs: when it last got on with something, and where it stands.  No Ray: plain functions.

The watchdog has them run on the machine of the worker, be it this one or another.
"""

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.heartbeat import STACK, STACK_SIGNAL, Beat, process_start, process_state, read_beat
from trainables.stored_trial import working_folder

MAX_STACK_BYTES = 100_000
_STACK_SECONDS = 3.0
_QUIET_SECONDS = 0.3
STOPPED = "stopped"
_STATES = {"R": "running", "S": "waiting", "D": "waiting for a device", "T": STOPPED, "t": "stopped by a debugger"}


@dataclass(frozen=True)
class Finding:
    """What was seen of a worker.

    Attributes:
        silent_seconds: since its last beat; None where it left none, or another process did.
        is_there: whether the process that left the beat still is.
        state: what the process was doing, in words; empty where that is unknown or was not asked for.
        stack: where each of its threads stood; empty where it was not asked for.
    """

    silent_seconds: float | None
    is_there: bool = True
    state: str = ""
    stack: str = ""


def examine(order: Mapping[str, Any], limit_seconds: float) -> Finding:
    """Looks at the worker of an order's trial; has it write down where it stands if it was silent for longer than the limit.

    A process that is stopped goes on for that: stopped, it answers nobody.  So it may report once more before its trial is ended.
    """
    folder = working_folder(order)
    beat = read_beat(folder)
    if beat is None or not beat.is_of_this_machine:
        return Finding(silent_seconds=None)
    silent_seconds = time.monotonic() - beat.moment
    if not _is_there(beat):
        return Finding(silent_seconds, is_there=False)
    if silent_seconds <= limit_seconds:
        return Finding(silent_seconds)
    letter = process_state(beat.pid)
    return Finding(silent_seconds, state=_STATES.get(letter, letter), stack=_ask_for_stack(folder, beat))


def kill(order: Mapping[str, Any]) -> None:
    """Kills the worker of an order's trial, if the process that left its beat still is there."""
    beat = read_beat(working_folder(order))
    if beat is not None and _is_there(beat):
        with contextlib.suppress(OSError):
            os.kill(beat.pid, signal.SIGKILL)


def _is_there(beat: Beat) -> bool:
    """Whether the process is there, on this machine, and not another one of its number."""
    if not beat.is_of_this_machine:
        return False
    try:
        os.kill(beat.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process_start(beat.pid) == beat.process_start


def _ask_for_stack(folder: Path, beat: Beat) -> str:
    file = folder / STACK
    before = _size(file)
    with contextlib.suppress(OSError):
        os.kill(beat.pid, signal.SIGCONT)
        os.kill(beat.pid, STACK_SIGNAL)
    _wait_until_written(file, before)
    try:
        with file.open("rb") as stream:
            stream.seek(before)
            return stream.read(MAX_STACK_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _wait_until_written(file: Path, before: int) -> None:
    """Waits until the file has grown and then stays as it is for a moment; not for long."""
    until, size, same_since = time.monotonic() + _STACK_SECONDS, before, time.monotonic()
    while time.monotonic() < until:
        now = _size(file)
        if now != size:
            size, same_since = now, time.monotonic()
        elif size > before and time.monotonic() - same_since >= _QUIET_SECONDS:
            return
        time.sleep(0.05)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
