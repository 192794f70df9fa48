"""What a training loop, and a process that runs one trial after the other, want of the C library."""

import ctypes
import functools
import gc
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


@functools.cache
def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for the next step instead of handing it back; True where that could be said.

    A step allocates and frees the same hundreds of megabytes as the one before.  By default glibc returns them, and the kernel
    zeroes each page again: a fifth of a training step on one CPU thread.  No number that is computed changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = {_M_MMAP_THRESHOLD: 32 * 2**20, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 * 2**20}
    return all(mallopt(key, value) == 1 for key, value in settings.items())


def hand_back_freed_memory() -> bool:
    """Gives the system what objects that are gone have left behind; True where that could be done.

    Called between two trials: the next one may be smaller, and other processes want the memory.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # what it keeps there no other trial on the same device could use
    if not sys.platform.startswith("linux"):
        return False
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return False
    return True
