import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from benchmarks.commands import Command, Ended, ProgramEntry
from benchmarks.measuring import Run, alternate

PARENT = "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); {then}"


@dataclass
class Code:
    """Runs some Python and keeps what it is told of its end."""

    code: str
    ended: Ended | None = None

    def arguments(self, folder: Path) -> list[str]:
        return ["-c", self.code]

    def environment(self, folder: Path) -> Mapping[str, str]:
        return {"WHERE": str(folder)}

    def read(self, ended: Ended) -> Run:
        self.ended = ended
        assert ended.folder.is_dir()
        return Run(1, ended.seconds, ended.largest_bytes)


def test_a_command_runs_anew_in_each_turn() -> None:
    program = Code("import os; print(os.environ['WHERE'])")
    runs = alternate({"it": ProgramEntry(program)}, rounds=2, warm_ups=0)["it"]
    assert len(runs) == 2
    ended = program.ended
    assert ended is not None
    assert ended.output.strip() == str(ended.folder) and not ended.folder.exists()
    assert 0 < ended.seconds < time.monotonic() - ended.began


def test_memory_is_that_of_all_processes() -> None:
    program = Code(f"import time; held = bytearray(200 * 2**20); {PARENT.format(then='time.sleep(2); c.kill()')}")
    alternate({"it": ProgramEntry(program)}, rounds=1, warm_ups=0)
    assert program.ended is not None
    assert 0 < program.ended.largest_bytes < 200 * 2**20 < program.ended.tree_bytes


def test_what_is_computed_is_counted() -> None:
    busy = Code("import time; [None for _ in iter(lambda: time.process_time() < 1.2, False)]")
    alternate({"it": ProgramEntry(busy)}, rounds=1, warm_ups=0)
    assert busy.ended is not None
    assert 0.1 < busy.ended.cpu_seconds < 2


def test_who_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"exit code 3\n(.|\n)*no such space"):
        alternate({"it": ProgramEntry(Code("print('no such space'); raise SystemExit(3)"))}, rounds=1, warm_ups=0)


@pytest.mark.parametrize("then", ["c.wait()", "raise SystemExit(1)"])
def test_nothing_of_it_is_left(then: str) -> None:
    command = Command(Code(PARENT.format(then=f"print(c.pid, flush=True); import time; time.sleep(2); {then}")))
    command.begin()
    started: list[psutil.Process] = []
    try:
        if "raise" in then:
            with pytest.raises(RuntimeError):
                command.end()
            started = list(command._tree)
        while not started:
            command._look()
            started = command._tree if len(command._tree) > 1 else []
    finally:
        command.close()
    assert len(started) == 2
    until = time.monotonic() + 10
    while any(map(lives, started)):
        assert time.monotonic() < until
        time.sleep(0.05)


def lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE  # whoever has it now that its parent is gone reaps it
    return False
