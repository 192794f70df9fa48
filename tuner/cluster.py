"""Ray on this machine: started for one search, closed to everybody else, gone afterwards.

`python -m tuner.cluster check FILE` looks at a file for `ray up`.  Exit codes: 0 nothing is wrong; 2 something is.

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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from trainables.parts import Problems
from tuner.console import errors_console
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
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}

EXIT_MISTAKE = 2
CLEANUP_SECONDS, STORING_SECONDS = 5, 300
"""For a worker to end: with nothing to do, and with a model to store."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Clusters that searches join."""


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="YAML files for `ray up`")]) -> None:
    """Look at files for `ray up`: who could get in, and what they give away."""
    from tuner.cluster_file import placeholders_in, problems_of, read_cluster_file, rules_for  # jsonschema, once it is needed

    problems, trees = Problems(), {}
    for file in files:
        tree = problems.attempt(lambda file=file: read_cluster_file(file))  # type: ignore[misc]
        if tree is not None:
            trees[file] = tree
            problems.add(*(f"{file}: {problem}" for problem in problems_of(tree)))
    if problems:
        errors = errors_console()
        for problem in problems.sentences:
            errors.print(problem)
        raise typer.Exit(EXIT_MISTAKE)
    for file, tree in trees.items():
        typer.echo(f"{file}: nothing is wrong; looked at: {'; '.join(rules_for(tree))}")
        if left := placeholders_in(tree):
            typer.echo(f"{file}: not yours yet, and to be replaced before `ray up`: {', '.join(left)}")


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


def guarded_by(token: Path) -> dict[str, str]:
    """The environment in which Ray lets in those alone who have the token in this file."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


@contextlib.contextmanager
def quiet_ray(guarded: Mapping[str, str], cleanup_seconds: int) -> Iterator[None]:
    """Sets Ray's environment as our drivers want it, before Ray is imported; afterwards it is guarded as it was before.

    Args:
        guarded: by what (`guarded_by`).
        cleanup_seconds: after which a worker is killed that was told to end.
    """
    for key, value in {**_QUIET, "TUNE_FORCE_TRIAL_CLEANUP_S": str(cleanup_seconds)}.items():
        os.environ.setdefault(key, value)
    changed = {**guarded, "RAY_AUTH_TOKEN": None}  # which would go before the file
    before = {key: os.environ.get(key) for key in changed}
    _set_environment(changed)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for key, value in values.items():
        os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this process for what is never read back; gone with the block, or when the next driver starts."""
    remove_stale_scratch()
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=scratch_parent()))  # 0700
    (scratch / "pid").write_text(str(os.getpid()))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def local_ray(num_cpus: int, num_gpus: int, *, cleanup_seconds: int = CLEANUP_SECONDS) -> Iterator[Path]:
    """A Ray of our own on this machine, with a scratch folder that goes when it goes.

    Args:
        num_cpus: that it may share out.
        num_gpus: likewise.
        cleanup_seconds: see `quiet_ray`.

    Yields:
        The scratch folder: what Ray and Tune write there is never read back.
    """
    with scratch_folder() as scratch, quiet_ray(guarded_by(_new_token(scratch)), cleanup_seconds):
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


def ray_addresses() -> dict[str, str]:
    """What the Ray that this process has started or joined cannot do without: its name -> its host:port."""
    import ray

    context = ray.get_runtime_context()
    [node] = [node for node in ray.nodes() if node["NodeID"] == context.get_node_id()]
    here = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
    return {"the head of the Ray cluster": context.gcs_address, "Ray's process on this machine (its raylet)": here}


def _new_token(folder: Path) -> Path:
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return token


if __name__ == "__main__":
    app()
