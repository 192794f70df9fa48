"""An MLflow server on loopback that a test may kill, stop and start again; and what it holds of a search."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import free_port
from tuner import mlflow_store
from tuner.ledger import Ledger

START_SECONDS = 180.0


class Server:
    """A server on a port of its own, over one store; started when it is asked for."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.store = f"sqlite:///{folder / 'server.db'}"
        self.uri = f"http://127.0.0.1:{free_port()}"
        self._folder, self._environment = folder, environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        """Starts it, and waits until it answers."""
        host, port = self.uri.removeprefix("http://").split(":")
        command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", port, "--workers", "1"]
        command += ["--backend-store-uri", self.store, "--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self._process.poll() is None and time.monotonic() < until, (self._folder / "server.log").read_text()
            time.sleep(0.5)
        return self

    def answers(self) -> bool:
        """Whether it is up."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to it and its workers."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        if number == signal.SIGKILL:
            self._process.wait()


@contextlib.contextmanager
def server_in(folder: Path, environment: dict[str, str]) -> Iterator[Server]:
    """A server that is not there any more afterwards."""
    folder.mkdir()
    server = Server(folder, environment)
    try:
        yield server
    finally:
        if server._process is not None:
            server.signal(signal.SIGKILL)


@pytest.mark.filterwarnings("ignore")
def mirror_problems(uri: str, folder: Path) -> list[str]:
    """What of a search that is over does not stand in MLflow exactly once; empty: all of it does.

    Args:
        uri: of a server or a store.
        folder: of the search.
    """
    client, experiment = mlflow_store.connect(uri)
    ledger = Ledger.open(folder)
    found = client.search_runs([experiment], f"tags.`tritune.search` = '{ledger.header['id']}'", max_results=1000)
    by_trial = {run.data.tags.get("tritune.trial"): run for run in found}
    counts = Counter(run.data.tags.get("tritune.trial") for run in found)
    problems = [f"trial {trial} has {count} runs" for trial, count in counts.items() if count > 1]
    problems += [f"run {run.info.run_name} was left RUNNING" for run in found if run.info.status == "RUNNING"]
    for record in ledger.records(live=False):
        run = by_trial.get(str(record.number))
        if run is None:
            problems.append(f"trial {record.number} has no run")
            continue
        held = sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, "score"))
        wanted = sorted((int(report["budget"]), float(report["score"])) for report in record.reports)
        if held != wanted:
            problems.append(f"trial {record.number} reported {wanted}, but MLflow holds {held}")
    return problems + ([] if None in by_trial else ["the search has no run"])
