"""Where a process's number means something."""

import os
from pathlib import Path


def this_machine() -> str:
    """This machine since its start, and the namespace of its processes; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
