"""Processes of this machine."""

import os


def is_alive(pid: int) -> bool:
    """Whether a process with this number is there, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
