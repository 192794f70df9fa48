import subprocess
import sys
from pathlib import Path

import pytest

from trainables.memory import (
    count_oom_kills,
    forget_peak_memory,
    hand_back_freed_memory,
    keep_freed_memory,
    kill_me_first,
    most_memory_bytes,
    peak_memory_bytes,
)

FREE = """
import ctypes, platform, sys
from trainables.memory import hand_back_freed_memory, keep_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.memset.argtypes, library.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[1] != "default":
    assert keep_freed_memory()
before = resident()
block = library.malloc(24 * 2**20)
library.memset(block, 1, 24 * 2**20)
library.free(block)
if sys.argv[1] == "hand back":
    assert hand_back_freed_memory()
print(resident() - before > 16 * 2**20)
"""
PEAK = """
from trainables.memory import forget_peak_memory, peak_memory_bytes
forget_peak_memory()
print(peak_memory_bytes())
block = bytearray(b"x" * (64 * 2**20))
print(peak_memory_bytes())
del block
print(peak_memory_bytes())
forget_peak_memory()
print(peak_memory_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
@pytest.mark.parametrize(("how", "kept"), [("keep", "True"), ("hand back", "False"), ("default", "False")])
def test_freed_memory_stays_with_the_process_until_it_is_handed_back(how: str, kept: str) -> None:
    done = subprocess.run([sys.executable, "-c", FREE, how], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == kept


def test_elsewhere_it_cannot_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory.__wrapped__() is False
    assert hand_back_freed_memory() is False


@pytest.mark.parametrize(
    ("group", "file", "text"),
    [
        ("0::/a/b\n", "a/b/memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("0::/a\n", "unified/a/memory.events", "oom_kill 2\n"),
        ("7:pids:/\n4:memory:/a/b\n0::/\n", "memory/a/b/memory.oom_control", "under_oom 0\noom_kill 2\n"),
        ("4:memory:/seen/from/outside\n", "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
    ids=["version 2", "unified", "version 1", "version 1 in a container"],
)
def test_the_kernels_count_is_read_from_the_group_of_the_process(group: str, file: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text(group)
    assert count_oom_kills(tmp_path / "cgroup", tmp_path / "mounts") == 0
    counts = tmp_path / "mounts" / file
    counts.parent.mkdir(parents=True)
    for content, count in ((text, 2), ("under_oom 0\n", 0), ("oom_kill many\n", 0), ("\n", 0)):
        counts.write_text(content)
        assert count_oom_kills(tmp_path / "cgroup", tmp_path / "mounts") == count
    assert count_oom_kills(tmp_path / "nowhere", tmp_path / "mounts") == 0


def test_a_worker_asks_to_be_killed_first(tmp_path: Path) -> None:
    kill_me_first(tmp_path / "score")
    assert (tmp_path / "score").read_text() == "1000"
    kill_me_first(tmp_path / "nowhere" / "score")


@pytest.mark.skipif(sys.platform != "linux", reason="a file of Linux")
def test_the_kernel_takes_it_from_a_process_for_itself() -> None:
    code = "from trainables.memory import kill_me_first; kill_me_first(); print(open('/proc/self/oom_score_adj').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1000


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel's count")
def test_the_peak_of_memory_is_what_was_held_since_it_was_forgotten() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    before, with_block, afterwards, forgotten = map(int, done.stdout.split())
    assert with_block - before > 48 * 2**20
    assert afterwards >= with_block - 2**20
    assert forgotten < with_block - 48 * 2**20


def test_where_the_kernel_does_not_say_the_peak_is_that_of_the_whole_process(tmp_path: Path) -> None:
    forget_peak_memory(tmp_path / "none" / "clear_refs")
    assert peak_memory_bytes(tmp_path / "status") >= peak_memory_bytes() // 2 > 2**20
    (tmp_path / "status").write_text("VmHWM:\t    2048 kB\n")
    assert peak_memory_bytes(tmp_path / "status") == 2 * 2**20


def test_what_a_process_may_hold_is_the_least_of_machine_and_control_group(tmp_path: Path) -> None:
    machine = most_memory_bytes(tmp_path / "none", tmp_path)
    assert machine > 2**28
    (tmp_path / "cgroup").write_text("0::/a\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "memory.max").write_text("max\n")
    assert most_memory_bytes(tmp_path / "cgroup", tmp_path) == machine
    (tmp_path / "a" / "memory.max").write_text("1048576\n")
    assert most_memory_bytes(tmp_path / "cgroup", tmp_path) == 2**20
