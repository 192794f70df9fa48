"""Where a result comes from: code, packages, machine, encoder.  Data hashes and seeds stand beside it in the ledger."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_PACKAGES = ("tritune", "torch", "transformers", "tokenizers", "numpy", "pyarrow", "ray", "optuna", "mlflow", "pydantic")


@functools.cache
def describe_code_and_machine() -> dict[str, Any]:
    """Git commit of the project (None where it is no checkout), whether it was changed since, package versions, hardware."""
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "hardware": {
            "host": platform.node(),
            "system": platform.platform(),
            "cpu": _cpu_model(),
            "num_cpus": os.cpu_count(),
            "memory_gib": _memory_gib(),
            "gpus": _gpu_models(),
        },
    }


def _git(*args: str) -> str | None:
    """What git says of the checkout that this file lies in; None where there is no git or no checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def _gpu_models() -> list[str]:
    out = []
    for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = information.read_text(encoding="utf-8").splitlines()
        out += [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
    return out
