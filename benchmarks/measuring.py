"""Contestants that take turns, each in a process of its own, and the medians of what they did.

Machines are shared and drift, so no figure stands alone: in every round each contestant is run once, in an order that turns,
while all the others wait; a ratio is the median of the ratios within rounds.
"""

import contextlib
import multiprocessing
import os
import signal
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Run:
    """One turn of a contestant.

    Attributes:
        units: of work done, such as tokens without padding.
        seconds: that it took.
        memory_bytes: the most that its process has held so far (resident).
    """

    units: float
    seconds: float
    memory_bytes: int

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.units / self.seconds


class Contestant(Protocol):
    """Does some work and says how much in how many seconds; what it needs is set up before."""

    def run(self) -> tuple[float, float]:
        """One turn: units, seconds."""


Make = Callable[..., Contestant]


class Process:
    """A contestant in a process of its own, which is made there and waits between its turns.

    Args:
        make: a class or function of a module, so that it can be sent.
        args: given to it.
        num_threads: CPU threads of the numerical libraries.
    """

    def __init__(self, make: Make, args: tuple[Any, ...], *, num_threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, args), daemon=True)
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = str(num_threads)  # the process imports torch with `make`
        self._process.start()
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
        theirs.close()

    def begin(self) -> None:
        """Begins a turn."""
        with contextlib.suppress(BrokenPipeError):  # it has failed already; `end` tells
            self._connection.send("run")

    def end(self) -> Run:
        """Waits for the turn's end.

        Raises:
            RuntimeError: the contestant failed; with its words.
        """
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join(timeout=10)
            raise RuntimeError(f"its process ended with exit code {self._process.exitcode}") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return Run(*answer)

    def close(self) -> None:
        """Ends the process, whatever it is at: it holds nothing worth keeping."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection: Connection, make: Make, args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it, who ends it then
    try:
        contestant = make(*args)
        while True:
            try:
                connection.recv()
            except EOFError:
                return
            units, seconds = contestant.run()
            connection.send((units, seconds, _peak_memory()))
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        raise


def _peak_memory() -> int:
    """The most that this process has held, in bytes; what `getrusage` says begins with what its parent had held."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@dataclass(frozen=True)
class Entry:
    """What is measured under one name: processes that run at once, whose rates add up.

    Attributes:
        make: the contestant.
        args: given to it.
        num_threads: of each process.
        num_processes: how many run at once.
    """

    make: Make
    args: tuple[Any, ...]
    num_threads: int
    num_processes: int = 1


def alternate(entries: Mapping[str, Entry], *, rounds: int, warm_ups: int = 1) -> dict[str, list[Run]]:
    """Runs of each entry, one a round; those of the first `warm_ups` rounds are not kept."""
    processes = {
        name: [Process(e.make, e.args, num_threads=e.num_threads) for _ in range(e.num_processes)] for name, e in entries.items()
    }
    runs: dict[str, list[Run]] = {name: [] for name in entries}
    names = list(entries)
    try:
        for number in range(warm_ups + rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                run = _turn(processes[name])
                if number >= warm_ups:
                    runs[name].append(run)
    finally:
        for process in (process for group in processes.values() for process in group):
            process.close()
    return runs


def _turn(processes: list[Process]) -> Run:
    """One turn of processes at once: the sum of their rates over the longest's seconds, and the memory of the largest."""
    for process in processes:
        process.begin()
    runs = [process.end() for process in processes]
    seconds = max(run.seconds for run in runs)
    return Run(sum(run.rate for run in runs) * seconds, seconds, max(run.memory_bytes for run in runs))


@dataclass(frozen=True)
class Spread:
    """The median of some values, and the lowest and highest."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread:
    """Of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(runs: Mapping[str, list[Run]], name: str, beside: str) -> Spread:
    """Rate of one entry over that of another, within each round."""
    return spread([one.rate / other.rate for one, other in zip(runs[name], runs[beside], strict=True)])
