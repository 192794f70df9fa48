"""A worker's start, ours and one on `transformers`, as programs that take turns."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.commands import Ended
from benchmarks.measuring import Run


@dataclass(frozen=True)
class FirstStep:
    """Seconds from the start of a fresh process, with one thread, to its first finished training step.

    Args:
        module: prints the monotonic clock, in seconds, after that step.
    """

    module: str

    def arguments(self, folder: Path) -> list[str]:
        """See `commands.Program`."""
        return ["-m", self.module]

    def environment(self, folder: Path) -> Mapping[str, str]:
        """See `commands.Program`; Ray says the same to its workers."""
        return {"OMP_NUM_THREADS": "1"}

    def read(self, ended: Ended) -> Run:
        """See `commands.Program`."""
        try:
            clock = float(ended.output.splitlines()[-1])
        except (IndexError, ValueError):
            raise RuntimeError(f"{self.module} did not print the clock, but {ended.output!r}") from None
        return Run(1, clock - ended.began, ended.largest_bytes)
