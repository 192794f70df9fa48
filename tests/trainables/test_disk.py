import errno
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.disk import is_disk_full


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), True),
        (ValueError("the room is full"), False),
        (MemoryError("out of memory"), False),
    ],
)
def test_what_says_that_a_disk_is_full(error: BaseException, full: bool) -> None:
    assert is_disk_full(error) == full
    wrapped = RuntimeError("went wrong")
    wrapped.__cause__ = error
    outer = ValueError("and then that")
    outer.__context__ = wrapped
    assert is_disk_full(outer) == full


def test_causes_that_go_in_a_circle_end() -> None:
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert not is_disk_full(one)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_the_system_says_it_so() -> None:
    with pytest.raises(OSError, match="No space") as caught:
        Path("/dev/full").write_text("x", encoding="utf-8")
    assert is_disk_full(caught.value)
    done = subprocess.run(["dd", "if=/dev/zero", "of=/dev/full", "count=1"], check=False, capture_output=True, text=True)
    assert is_disk_full(RuntimeError(done.stderr))
