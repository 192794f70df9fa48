"""Row 6: a save is killed at each of its system calls in turn."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import ROOT
from tests.faults.saving import NUM_KEPT, STATE, save
from tests.faults.scorecard import Row
from trainables.checkpoints import checkpoints, newest_good, number_of, remove_leftovers, verify

_STRIDE = 25
"""Between two calls that are killed in the quick set."""
_CALL = re.compile(r"^\d+\s+(\w+)\(", re.MULTILINE)

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@needs_strace
@pytest.mark.faults
def test_killed_at_every_system_call_of_a_save(tmp_path: Path, row: Callable[..., Row], full: bool) -> None:
    filled = row(6, "a save killed at each of its system calls", "to find and check the newest good checkpoint")
    before = tmp_path / "before"
    for report in (1, 2):
        save(before, report)
    calls = calls_of_a_save(Path(shutil.copytree(before, tmp_path / "whole")), tmp_path / "trace.txt")
    assert {"write", "fsync", "rename", "mkdir"} <= calls.keys(), calls
    kills = [(name, number) for name, count in sorted(calls.items()) for number in range(1, count + 1)]
    for name, number in kills if full else kills[::_STRIDE]:
        folder = Path(shutil.copytree(before, tmp_path / "killed", copy_function=shutil.copy2))
        assert save_under(folder, "-e", f"inject={name}:signal=KILL:when={number}", "-o", "/dev/null") == -signal.SIGKILL
        filled.runs += 1
        begun = time.monotonic()
        filled.failures += [f"{name} {number}: {problem}" for problem in problems_of_folder(folder)]
        filled.recover_seconds.append(time.monotonic() - begun)
        shutil.rmtree(folder)
    assert filled.failures == []


def calls_of_a_save(folder: Path, trace: Path) -> Counter[str]:
    """System call -> how often a save makes it, without the read that it was waiting in when strace came."""
    assert save_under(folder, "-o", str(trace)) == 0
    return Counter(_CALL.findall(trace.read_text(encoding="utf-8", errors="replace"))) - Counter({"read": 1})


def save_under(folder: Path, *options: str) -> int:
    """Saves in a process that strace watches from the moment on at which it begins; its exit code.

    strace counts each system call by itself: `when=3` of `fsync` is the third fsync.
    """
    command = [sys.executable, "-m", "tests.faults.saving", str(folder)]
    saver = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert saver.stdin is not None and saver.stdout is not None
    with saver:
        assert saver.stdout.readline() == b"ready\n"
        with subprocess.Popen(["strace", "-f", "-p", str(saver.pid), *options], stderr=subprocess.PIPE) as tracer:
            assert tracer.stderr is not None
            assert b"attached" in tracer.stderr.readline()
            saver.stdin.write(b"\n")
            saver.stdin.flush()
            return saver.wait(60)


def problems_of_folder(folder: Path) -> list[str]:
    """What whoever goes on finds wrong: there must be a good checkpoint, no older than the one before, and a good best model."""
    for parent in (folder, folder / "checkpoints"):
        remove_leftovers(parent)
    damaged: list[str] = []
    newest = newest_good(folder / "checkpoints", damaged.extend)
    problems = [*damaged, *verify(folder / "best")]
    if newest is None or number_of(newest) < NUM_KEPT:
        return [*problems, f"the newest good checkpoint is {newest}"]
    if json.loads((newest / STATE).read_text(encoding="utf-8")) != {"report": number_of(newest)}:
        problems.append(f"{newest} holds another's state")
    left = [path.name for path in folder.rglob(".*")]
    return problems + [f"left behind: {name}" for name in left] + _too_many(folder)


def _too_many(folder: Path) -> list[str]:
    found = checkpoints(folder / "checkpoints")
    return [] if NUM_KEPT <= len(found) <= NUM_KEPT + 1 else [f"{len(found)} checkpoints"]


@pytest.mark.parametrize("name", ["checkpoints/report-0002", "best"])
def test_the_check_finds_what_is_wrong(tmp_path: Path, name: str) -> None:
    for report in (1, 2):
        save(tmp_path, report)
    assert problems_of_folder(tmp_path) == []
    next((tmp_path / name).rglob("*.safetensors")).write_bytes(b"")
    assert problems_of_folder(tmp_path) != []
