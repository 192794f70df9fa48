"""The MLflow mirror: fills MLflow from the ledger, in a process of its own, so that no MLflow can slow or stop a search.

`python -m tuner.tracking follow DIR` mirrors a search while it runs; the driver starts it through `MirrorProcess`, which imports no
MLflow.  `python -m tuner.tracking sync DIR` sends what is missing, once.  Neither trusts what it remembers: after a start, and after
every error, they read back what MLflow holds (runs by the tags `tritune.search` and `tritune.trial`, points by the history of one
metric) and send the rest.  What is to be sent is decided in `tuner/mirror_runs.py` and `tuner/mirror_plan.py`; this is the only file
that imports MLflow, and it does so late, because that takes seconds.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any
from urllib.parse import urlsplit

import filelock
import typer

from tuner.ledger import Ledger, LedgerError
from tuner.mirror_plan import WHOLE_TAG, Create, HeldRun, Log, Operation, SetStatus, count_missing, is_whole, plan_run
from tuner.mirror_runs import CHILD_CURVE, PARENT_CURVE, SEARCH_TAG, TRIAL_TAG, Artifact, WantedRun, wanted_runs
from tuner.search_folder import is_live

EXPERIMENT = "tritune"
LOG_FILE = "mirror.log"
_LOCK_FILE = ".mirror.lock"
_PARENT_TAG = "mlflow.parentRunId"
_REFUSED = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # ours read back first: a request that was retried blindly may make a run twice
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",
}
_log = logging.getLogger("tritune.mirror")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Shows a search in MLflow, from its ledger.")


def default_tracking_uri(search_folder: Path) -> str:
    """The store that all searches beside this one share: `mlflow.db` in the folder that the search's folder lies in."""
    return f"sqlite:///{search_folder.resolve().parent / 'mlflow.db'}"


def sync_command(search_folder: Path) -> str:
    """What a person types to send what is missing."""
    return f"python -m tuner.tracking sync {search_folder}"


class Mirror:
    """Sends what MLflow lacks of one search.

    Attributes:
        sent: operations done so far, by kind (`runs`, `reports`, `files`).
    """

    def __init__(self, folder: Path, tracking_uri: str) -> None:
        self.sent: Counter[str] = Counter()
        self._folder, self._uri = folder, tracking_uri
        self._client: Any = None
        self._experiment_id = ""
        self._held: dict[int | None, HeldRun] | None = None

    def send(self, wanted: Mapping[int | None, WantedRun]) -> None:
        """Sends all that is missing, the parent first.  A run that MLflow refuses does not keep the others back.

        Raises:
            Exception: whatever MLflow raised; what it holds is read back the next time.
        """
        held = self._known(wanted)
        self._held = None
        refused: list[Exception] = []
        for trial, run in wanted.items():
            try:
                self._send_run(trial, run, held)
            except Exception as error:
                if trial is None or getattr(error, "error_code", "") not in _REFUSED:
                    raise
                refused.append(error)
        if refused:
            raise refused[0]
        self._held = held

    def count_missing(self, wanted: Mapping[int | None, WantedRun]) -> tuple[int, int]:
        """Trials and reports that MLflow lacks, as far as it can be asked; all of them where it cannot."""
        try:
            return count_missing(wanted, self._known(wanted))
        except Exception:
            return count_missing(wanted, None)

    def _known(self, wanted: Mapping[int | None, WantedRun]) -> dict[int | None, HeldRun]:
        """What MLflow holds: as remembered since the last success, else read back."""
        if self._held is not None:
            return self._held
        if self._client is None:
            self._client, self._experiment_id = _connect(self._uri)
        return _read_back(self._client, self._experiment_id, wanted)

    def _send_run(self, trial: int | None, run: WantedRun, held: dict[int | None, HeldRun]) -> None:
        there = held.get(trial)
        if there is not None and is_whole(run, there):
            return
        if trial is not None:
            run = replace(run, tags={**run.tags, _PARENT_TAG: held[None].run_id})
        for operation in plan_run(run, there):
            self._apply(operation, trial, held)

    def _apply(self, operation: Operation, trial: int | None, held: dict[int | None, HeldRun]) -> None:
        if isinstance(operation, Create):
            run = operation.run
            made = self._client.create_run(self._experiment_id, run.start_ms or None, dict(run.tags), run.name)
            held[trial] = HeldRun(made.info.run_id, tags=dict(run.tags))
            self.sent["runs"] += 1
            return
        there = held[trial]
        if isinstance(operation, Log):
            _log_batch(self._client, there, operation)
            self.sent["reports"] += operation.point is not None and trial is not None
        elif isinstance(operation, SetStatus):
            _set_status(self._client, there, operation)
        else:
            _upload(self._client, there.run_id, operation.artifact)
            self.sent["files"] += 1


@dataclass(frozen=True)
class MirrorResult:
    """How a mirror ended: whether MLflow holds all of the search, and a line for a person."""

    complete: bool
    message: str


class MirrorProcess:
    """The mirror of a running search, as the driver holds it: starts it, and at the end waits for it, but never long.

    Start it after the ledger's header says that the search is running (`ended` is None); close it after `ended` was set and the
    export stands.  Nothing here raises into the search, and nothing outlives it: the mirror watches its parent.

    Args:
        folder: of the search.
        tracking_uri: where MLflow is; None: `default_tracking_uri`.
        give_up_seconds: how long, once the search is over, the mirror goes on trying against an MLflow that fails.
    """

    def __init__(self, folder: Path, tracking_uri: str | None = None, give_up_seconds: float = 15.0) -> None:
        self._folder, self._uri, self._give_up_seconds = folder, tracking_uri, give_up_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._problem = "it was never started"
        self.result: MirrorResult | None = None

    def start(self) -> "MirrorProcess":
        """Starts the process, out of reach of Ctrl-C; its output goes to `mirror.log`."""
        command = [sys.executable, "-m", "tuner.tracking", "follow", str(self._folder.resolve())]
        command += ["--parent-pid", str(os.getpid()), "--give-up-seconds", str(self._give_up_seconds)]
        command += ["--tracking-uri", self._uri] if self._uri else []
        root = str(Path(__file__).resolve().parent.parent)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
        try:
            with (self._folder / LOG_FILE).open("ab") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
                )
        except OSError as error:
            self._problem = f"it could not be started: {_first_line(error)}"
        return self

    def close(self, timeout_seconds: float = 30.0) -> MirrorResult:
        """Waits until the mirror is done, at most so long, then kills it."""
        if self.result is None:
            self.result = self._wait(timeout_seconds)
        return self.result

    def _wait(self, timeout_seconds: float) -> MirrorResult:
        if self._process is None:
            return self._incomplete(self._problem)
        try:
            code = self._process.wait(timeout_seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            _kill(self._process)
            return self._incomplete(f"it was still at work after {timeout_seconds:g} s and was killed")
        last_line = _last_line(self._folder / LOG_FILE)
        return MirrorResult(True, last_line) if code == 0 else self._incomplete(last_line or f"it ended with exit code {code}")

    def _incomplete(self, why: str) -> MirrorResult:
        command = sync_command(self._folder)
        return MirrorResult(False, why if command in why else f"the MLflow mirror is not complete: {why}; send the rest: {command}")

    def __enter__(self) -> "MirrorProcess":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@app.command()
def follow(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the search.")],
    tracking_uri: Annotated[str | None, typer.Option(help="Where MLflow is, if not where the search says.")] = None,
    parent_pid: Annotated[int | None, typer.Option(help="Process of the driver; the mirror ends with it.")] = None,
    give_up_seconds: Annotated[float, typer.Option(help="How long to go on after the search while MLflow fails.")] = 15.0,
    poll_seconds: Annotated[float, typer.Option(help="How often the ledger is read.")] = 1.0,
) -> None:
    """Mirrors a search while it runs, and ends with it."""
    _start_logging()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent_gone = _watch(parent_pid, give_up_seconds + 60) if parent_pid else lambda: not is_live(folder)
    os.nice(5)  # the trials come first
    ledger, uri = _open(folder, tracking_uri)
    with _only_mirror(folder):
        raise typer.Exit(_follow(Mirror(folder, uri), ledger, folder, parent_gone, give_up_seconds, poll_seconds))


@app.command()
def sync(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the search.")],
    tracking_uri: Annotated[str | None, typer.Option(help="Where MLflow is, if not where the search says.")] = None,
) -> None:
    """Sends what MLflow lacks of a search, once, and says what it was."""
    ledger, uri = _open(folder, tracking_uri)
    with _only_mirror(folder):
        mirror = Mirror(folder, uri)
        wanted = _wanted(ledger, folder, over=bool(ledger.header.get("ended")) or not is_live(folder))
        try:
            mirror.send(wanted)
        except Exception as error:
            _fail(f"{_shortfall(mirror, wanted)}: {_first_line(error)}; sent: {_summary(mirror)}", code=1)
    typer.echo(f"sent to {_shown(uri)}: {_summary(mirror)}")


def _follow(
    mirror: Mirror, ledger: Ledger, folder: Path, parent_gone: Callable[[], bool], give_up_seconds: float, poll_seconds: float
) -> int:
    """The loop: read the ledger, send, wait; the exit code.  Whether it is over is asked before reading, so that nothing is missed."""
    failing_since: float | None = None
    pause = poll_seconds
    while True:
        over = parent_gone() or bool(ledger.header.get("ended"))
        wanted = _wanted(ledger, folder, over=over and not _taken_over(ledger, folder))
        try:
            mirror.send(wanted)
            failing_since, pause = None, poll_seconds
        except Exception as error:
            failing_since = failing_since or time.monotonic()
            pause = min(2 * pause, 30.0)
            _log.warning("MLflow: %s", _first_line(error))
        if over and failing_since is None:
            _log.info("MLflow holds the whole search; sent: %s", _summary(mirror))
            return 0
        if over and failing_since is not None and time.monotonic() - failing_since >= give_up_seconds:
            _log.error("%s; send the rest: %s", _shortfall(mirror, wanted), sync_command(folder))
            return 1
        _sleep(pause if not over else poll_seconds, lambda: parent_gone() or bool(ledger.header.get("ended")))
