"""An S3 server of the tests (moto's) on loopback or another address of this machine, with one bucket, in a process of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

BUCKET = "tritune"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "no-secret",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_START_SECONDS = 60.0


class S3Server:
    """A server that runs.

    Attributes:
        uri: of its bucket, as pyarrow.fs takes it.
    """

    def __init__(self, host: str, folder: Path) -> None:
        self._address = f"{host}:{free_port(host)}"
        self.uri = f"s3://{BUCKET}?endpoint_override={self._address}&scheme=http&region=us-east-1"
        command = [sys.executable, "-m", "moto.server", "-H", host, "-p", self._address.rpartition(":")[2]]
        with (folder / "s3.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **CREDENTIALS})
        self._wait_and_make_bucket(folder / "s3.log")

    def at(self, path: str) -> str:
        """The address of a place in the bucket."""
        return self.uri.replace("?", f"/{path}?")

    def signal(self, number: signal.Signals) -> None:
        """Sends the process a signal."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Ends it, stopped or not."""
        self._process.kill()
        self._process.wait()

    def _wait_and_make_bucket(self, log: Path) -> None:
        until = time.monotonic() + _START_SECONDS
        while True:
            assert self._process.poll() is None and time.monotonic() < until, log.read_text()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                request = urllib.request.Request(f"http://{self._address}/{BUCKET}", method="PUT")
                with urllib.request.urlopen(request, timeout=5):
                    return
            time.sleep(0.1)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind((host, 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server on loopback, with its credentials in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in CREDENTIALS.items():
            patch.setenv(key, value)
        server = S3Server("127.0.0.1", tmp_path_factory.mktemp("s3"))
        yield server
        server.end()
