from pathlib import Path

import pytest

from benchmarks.commands import Ended
from benchmarks.worker_start import FirstStep


def ended(output: str) -> Ended:
    return Ended(Path(), output, began=100.0, seconds=9, cpu_seconds=8, tree_bytes=2, largest_bytes=1)


def test_it_ends_with_the_first_step_and_not_with_the_process() -> None:
    assert FirstStep("some.module").read(ended("a warning\n104.5\n")).seconds == 4.5


@pytest.mark.parametrize("output", ["", "no clock\n"])
def test_a_module_without_a_clock_is_named(output: str) -> None:
    with pytest.raises(RuntimeError, match=r"some\.module"):
        FirstStep("some.module").read(ended(output))
