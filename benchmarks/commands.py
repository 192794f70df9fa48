"""Whole commands that take turns: a fresh process each time, with all that it starts, and the memory of all of them."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from benchmarks.measuring import Run, Runner

ROOT = Path(__file__).resolve().parents[1]
_LOOK_SECONDS = 0.5
_TOLD_CHARACTERS = 4000
_OUTPUT = "output.txt"


@dataclass(frozen=True)
class Ended:
    """A command that has ended well.

    Attributes:
        folder: that it ran for.
        output: what it printed.
        began: when it was started, by the machine's monotonic clock, in seconds.
        seconds: from its start to its exit.
        cpu_seconds: that it and all that it started computed, but for what each did in its last half second.
        tree_bytes: the most that it and all that it started held at once (resident; what they share is counted for each).
        largest_bytes: the most that one process held of those that it started, or itself where it started none.
    """

    folder: Path
    output: str
    began: float
    seconds: float
    cpu_seconds: float
    tree_bytes: int
    largest_bytes: int


class Program(Protocol):
    """A command and what is to be made of its end."""

    def arguments(self, folder: Path) -> list[str]:
        """What `python` is given; the folder is empty, and gone after the turn."""

    def environment(self, folder: Path) -> Mapping[str, str]:
        """What is set beside this process's own environment."""

    def read(self, ended: Ended) -> Run:
        """The turn.

        Raises:
            RuntimeError: it did not do what it should have done.
        """


@dataclass(frozen=True)
class ProgramEntry:
    """A command that is begun anew in each turn."""

    program: Program

    def start(self) -> list[Runner]:
        """Nothing runs before the first turn."""
        return [Command(self.program)]


class Command:
    """Runs a program in each turn, in a folder and a session of its own."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._tree: list[psutil.Process] = []
        self._cpu_seconds: dict[psutil.Process, float] = {}

    def begin(self) -> None:
        """Starts it."""
        self._folder = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.program.environment(folder)}
        with (folder / _OUTPUT).open("wb") as output:
            self._began = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, *self.program.arguments(folder)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for who started it, who ends it then
            )

    def end(self) -> Run:
        """Waits for its exit, and looks meanwhile at what it holds.

        Raises:
            RuntimeError: it failed; with the end of what it printed.
        """
        assert self._process is not None and self._folder is not None
        tree_bytes = largest_bytes = 0
        while self._process.poll() is None:
            held = self._look()
            tree_bytes, largest_bytes = max(tree_bytes, sum(held)), max(largest_bytes, *(held[1:] or held))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LOOK_SECONDS)
        seconds, folder = time.monotonic() - self._began, Path(self._folder.name)
        output = (folder / _OUTPUT).read_text(encoding="utf-8", errors="replace")
        if self._process.returncode:
            command = " ".join(["python", *self.program.arguments(folder)])
            raise RuntimeError(f"{command}: exit code {self._process.returncode}\n{output[-_TOLD_CHARACTERS:]}")
        cpu_seconds = sum(self._cpu_seconds.values())
        run = self.program.read(Ended(folder, output, self._began, seconds, cpu_seconds, tree_bytes, largest_bytes))
        self.close()
        return run

    def _look(self) -> list[int]:
        """Bytes that each process of the tree holds, the command's own first; notes who they are and what they computed."""
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._process.pid)
            self._tree = [root, *root.children(recursive=True)]
        held = []
        for process in self._tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                held.append(process.memory_info().rss)
                self._cpu_seconds[process] = sum(process.cpu_times()[:2])
        return held or [0]

    def close(self) -> None:
        """Kills what is left of it and of all that it started, and removes its folder."""
        if self._process is not None:
            self._look()
            for process in self._tree:  # who starts others comes before them
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()
        self._process, self._folder, self._tree, self._cpu_seconds = None, None, [], {}
