import subprocess
import sys

import pytest

from trainables.memory import hand_back_freed_memory, keep_freed_memory

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


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
@pytest.mark.parametrize(("how", "kept"), [("keep", "True"), ("hand back", "False"), ("default", "False")])
def test_freed_memory_stays_with_the_process_until_it_is_handed_back(how: str, kept: str) -> None:
    done = subprocess.run([sys.executable, "-c", FREE, how], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == kept


def test_elsewhere_it_cannot_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory.__wrapped__() is False
    assert hand_back_freed_memory() is False
