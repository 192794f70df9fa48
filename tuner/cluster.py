"""Ray on this machine: started for one search, closed to everybody else, gone afterwards.

Ray listens on all interfaces even where it is told one address, so the session is guarded by a token (`RAY_AUTH_MODE=token`), and
its folder, which Ray makes readable for all, lies in one of ours that is not.
"""

import contextlib
import itertools
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tuner.processes import is_alive
from tuner.settings import SearchSettings

_SCRATCH_PREFIX = "tritune-"
_LONGEST_TEMPORARY_PATH = 20
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it would end the driver 3 s after a SIGTERM, and take our handler away
    "RAY_memory_monitor_refresh_ms": "0",  # what it kills ends Tune; the kernel takes workers first, too
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files a trial, which nobody reads
    "TUNE_RESULT_BUFFER_LENGTH": "1",  # a decision follows each report
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's own snapshots are never read back
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def num_slots(settings: SearchSettings, num_cpus: int, num_gpus: int) -> int:
    """How many trials run at once: what the machine holds, or fewer where `concurrency` says so."""
    fit = num_cpus // settings.cpus_per_trial
    if settings.gpus_per_trial > 0:
        fit = min(fit, math.floor(num_gpus / settings.gpus_per_trial + 1e-9))
    return min(fit, settings.concurrency or fit)


def count_gpus() -> int:
    """NVIDIA GPUs of this machine, without importing torch; `CUDA_VISIBLE_DEVICES` counts up to its first `-1`, as for CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len(list(itertools.takewhile(lambda entry: entry.strip() not in {"", "-1"}, visible.split(","))))
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def remove_stale_scratch() -> None:
    """Removes the scratch folders of our drivers on this machine that were killed before they could."""
    for folder in scratch_parent().glob(f"{_SCRATCH_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            if folder.stat().st_uid == os.getuid() and not is_alive(int((folder / "pid").read_text())):
                shutil.rmtree(folder, ignore_errors=True)


def scratch_parent() -> Path:
    """Where scratch folders lie: the machine's temporary folder, unless its path is too long for Ray's sockets.

    They take 83 bytes more, and a socket's path may have 107 (103 on macOS).
    """
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= _LONGEST_TEMPORARY_PATH else "/tmp")


@contextlib.contextmanager
def local_ray(num_cpus: int, num_gpus: int) -> Iterator[Path]:
    """A Ray of our own on this machine, with a scratch folder that goes when it goes.

    Yields:
        The scratch folder: what Ray and Tune write there is never read back.
    """
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    remove_stale_scratch()
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=scratch_parent()))  # 0700
    (scratch / "pid").write_text(str(os.getpid()))
    token = scratch / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    guarded = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    before = {key: os.environ.get(key) for key in guarded}
    os.environ.update(guarded)

    import ray

    try:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            configure_logging=True,
            _temp_dir=str(scratch / "ray"),
        )
        yield scratch
    finally:
        ray.shutdown()
        for key, old in before.items():
            os.environ.pop(key, None) if old is None else os.environ.__setitem__(key, old)
        shutil.rmtree(scratch, ignore_errors=True)
