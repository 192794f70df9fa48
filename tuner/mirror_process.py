"""The driver's side of the MLflow mirror: a process that is started, waited for, and killed if it hangs.  Imports no MLflow."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tuner.console import visible
from tuner.ledger import first_line

LOG_FILE = "mirror.log"
_TAIL_BYTES = 2**16
"""Of a log as long as a search: its last line stands in there."""
INCOMPLETE, SEND_THE_REST = "the MLflow mirror is not complete: ", "; send the rest: "


def sync_command(search_folder: Path) -> str:
    """What a person types to send what is missing."""
    return f"python -m tuner.tracking sync {shlex.quote(str(search_folder))}"


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

    def __init__(self, folder: Path, tracking_uri: str | None = None, give_up_seconds: float = 10.0) -> None:
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
            self._problem = f"it could not be started: {first_line(error)}"
        return self

    def close(self, timeout_seconds: float = 30.0) -> MirrorResult:
        """Waits until the mirror is done, at most so long or until somebody interrupts, then kills it."""
        if self.result is None:
            self.result = self._wait(timeout_seconds)
        return self.result

    def _wait(self, timeout_seconds: float) -> MirrorResult:
        if self._process is None:
            return self._incomplete(self._problem)
        try:
            code = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            _kill(self._process)
            return self._incomplete(f"it was still at work after {timeout_seconds:g} s and was killed")
        except KeyboardInterrupt:  # all else is done by now
            _kill(self._process)
            return self._incomplete("it was still at work when it was interrupted")
        told = last_line(self._folder / LOG_FILE)
        if code == 0:
            return MirrorResult(True, told)
        return self._incomplete(told if code == 1 and told else f"it ended with exit code {code}")

    def _incomplete(self, why: str) -> MirrorResult:
        is_whole = why.startswith(INCOMPLETE)
        return MirrorResult(False, why if is_whole else f"{INCOMPLETE}{why}{SEND_THE_REST}{sync_command(self._folder)}")

    def __enter__(self) -> "MirrorProcess":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and whatever it started, also if it was stopped."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)


def last_line(path: Path) -> str:
    """The last line of a log that says something, without its control characters; empty where there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = log.read(_TAIL_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
    return next((visible(line.strip()) for line in reversed(text.split("\n")) if line.strip()), "")
