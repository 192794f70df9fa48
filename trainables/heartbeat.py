"""What a worker leaves in its trial's folder for whoever watches it: that it goes on, and where it stands when it does not.

    heartbeat    one line: its process, and when it last got on with something (see `Beat`)
    stack.txt    where each thread stood, written when the process gets `STACK_SIGNAL`; empty until then

Who trains without a search has nobody who watches: until `begin` was called `beat` does nothing.
"""

import contextlib
import faulthandler
import io
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from trainables.machine import this_machine
from trainables.memory import count_oom_kills
from trainables.plain_files import read_json

HEARTBEAT, STACK = "heartbeat", "stack.txt"
STACK_SIGNAL = signal.SIGUSR2
"""The handler is compiled and asks no lock, so that a process that loops or is deadlocked answers, too."""
BEAT_SECONDS = 1.0
"""A beat is written no more often."""
TAKEOVER_SECONDS = 120.0
"""Between the last beat of a worker that died and the first of the next one for its trial."""
_LENGTH = 240
"""Bytes of the file, always: what stands there is written over."""
_PROC = Path("/proc")


@dataclass(frozen=True)
class Beat:
    """A sign of life.

    Attributes:
        pid: of the worker.
        process_start: when the kernel started it, in its ticks: of another process with the same number it is another.  Empty
            where the system does not tell.
        moment: `time.monotonic()` of the worker's machine, which setting a clock does not move.
        oom_kills: processes that the kernel had killed for memory in the worker's control group by then.
        machine: the worker's (`trainables.machine`); on another, none of the others means anything.
    """

    pid: int
    process_start: str
    moment: float
    oom_kills: int = 0
    machine: str = ""

    @property
    def is_of_this_machine(self) -> bool:
        """Whether its process is one of this machine's."""
        return self.machine == this_machine()


class _Writer:
    """Writes beats to an open file; a disk that fails is nothing to a trial.

    Args:
        folder: of the trial.
        check: called before each beat that is written; what it raises keeps that from being written.

    Raises:
        OSError: the files cannot be made.
    """

    def __init__(self, folder: Path, check: Callable[[], object]) -> None:
        check()
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / HEARTBEAT, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            self._stack: io.FileIO | None = io.FileIO(folder / STACK, "a")
        except OSError:
            os.close(self._file)
            raise
        faulthandler.register(STACK_SIGNAL, file=self._stack, all_threads=True)
        self._pid, self._start, self._machine, self._check = os.getpid(), process_start(os.getpid()), this_machine(), check
        self._written = -BEAT_SECONDS
        self.beat()

    def beat(self) -> None:
        moment = time.monotonic()
        if moment - self._written >= BEAT_SECONDS:
            self._check()
            self._written = moment
            written = Beat(self._pid, self._start, moment, count_oom_kills(), self._machine)
            line = json.dumps(asdict(written)).ljust(_LENGTH - 1) + "\n"
            with contextlib.suppress(OSError):
                os.pwrite(self._file, line.encode(), 0)

    def close(self) -> None:
        os.close(self._file)
        if self._stack is not None:
            faulthandler.unregister(STACK_SIGNAL)
            self._stack.close()


_writer: _Writer | None = None


def begin(folder: Path, check: Callable[[], object] = lambda: None) -> None:
    """This process goes on with the trial of `folder` from now on: there is its first beat, and there are those that follow.

    Args:
        folder: of the trial.
        check: called before each beat that is written, at most once a second; what it raises, `beat` raises.
    """
    global _writer  # noqa: PLW0603 - one process, one trial at a time
    end()
    with contextlib.suppress(OSError):  # no room for a few bytes: the trial itself will say so
        _writer = _Writer(folder, check)


def beat() -> None:
    """The trial got on with something: a step, a batch of dev.  Costs nothing but, once a second, some microseconds."""
    if _writer is not None:
        _writer.beat()


def end() -> None:
    """No trial is at work in this process any more."""
    global _writer  # noqa: PLW0603
    if _writer is not None:
        _writer.close()
        _writer = None


def read_beat(folder: Path) -> Beat | None:
    """The last beat in a trial's folder; None where there is none that can be read."""
    try:
        return Beat(**read_json(folder / HEARTBEAT))
    except (OSError, ValueError, TypeError):
        return None


def predecessor_was_killed_for_memory(folder: Path) -> bool:
    """Whether the worker that this process takes a trial over from has just been killed by the kernel, for want of memory.

    It has where its process is gone from this machine and the kernel has killed more in this control group than at its last beat,
    which is no older than starting a worker takes.  Of several workers that die between that beat and now, each may be taken for
    the one that the kernel killed.
    """
    beat = read_beat(folder)
    if beat is None or not beat.is_of_this_machine or not 0 <= time.monotonic() - beat.moment <= TAKEOVER_SECONDS:
        return False
    return process_start(beat.pid) != beat.process_start and count_oom_kills() > beat.oom_kills


def process_start(pid: int) -> str:
    """When the kernel started a process; empty where there is none of this number, or the system does not tell."""
    return _field_of(pid, 22)


def process_state(pid: int) -> str:
    """The kernel's letter for what a process does: R runs, S waits, D waits for a device, T is stopped; empty where unknown."""
    return _field_of(pid, 3)


def _field_of(pid: int, number: int) -> str:
    """A field of `/proc/PID/stat`, numbered from 1 as in its manual; the second, a name, may hold anything."""
    try:
        _, _, rest = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")
    except OSError:
        return ""
    return rest.split()[number - 3]


def remove_signs(folder: Path) -> None:
    """Removes what an ended trial's folder need not keep: its heartbeat, and a stack that nobody asked for."""
    with contextlib.suppress(OSError):
        (folder / HEARTBEAT).unlink(missing_ok=True)
        if (folder / STACK).stat().st_size == 0:
            (folder / STACK).unlink()
