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
from dataclasses import dataclass, field
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
        more: further figures, by what they are called.
    """

    units: float
    seconds: float
    memory_bytes: int
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.units / self.seconds


class Contestant(Protocol):
    """Does some work and says how much in how many seconds; what it needs is set up before."""

    def run(self) -> tuple[float, float]:
        """One turn: units, seconds."""


Make = Callable[..., Contestant]


class Runner(Protocol):
    """Something that has turns."""

    def begin(self) -> None:
        """Begins a turn."""

    def end(self) -> Run:
        """Waits for the turn's end.

        Raises:
            RuntimeError: it failed; with its words.
        """

    def close(self) -> None:
        """Ends it, whatever it is at."""


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


class Startable(Protocol):
    """What is measured under one name."""

    def start(self) -> list[Runner]:
        """What then runs at once, and whose rates add up."""


@dataclass(frozen=True)
class Entry:
    """A contestant in processes that run at once.

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

    def start(self) -> list[Runner]:
        """Its processes, which wait for their first turn."""
        return [Process(self.make, self.args, num_threads=self.num_threads) for _ in range(self.num_processes)]


def alternate(entries: Mapping[str, Startable], *, rounds: int, warm_ups: int = 1) -> dict[str, list[Run]]:
    """Runs of each entry, one a round; those of the first `warm_ups` rounds are not kept."""
    runners = {name: entry.start() for name, entry in entries.items()}
    runs: dict[str, list[Run]] = {name: [] for name in entries}
    names = list(entries)
    try:
        for number in range(warm_ups + rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                run = _turn(runners[name])
                if number >= warm_ups:
                    runs[name].append(run)
    finally:
        for runner in (runner for group in runners.values() for runner in group):
            runner.close()
    return runs


def _turn(runners: list[Runner]) -> Run:
    """One turn of all at once: the sum of their rates over the longest's seconds, and the memory of the largest."""
    for runner in runners:
        runner.begin()
    runs = [runner.end() for runner in runners]
    if len(runs) == 1:
        return runs[0]
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


def ratios(values: Mapping[str, list[float]], name: str, beside: str) -> Spread:
    """Values of one entry over those of another, within each round."""
    return spread([one / other for one, other in zip(values[name], values[beside], strict=True)])
