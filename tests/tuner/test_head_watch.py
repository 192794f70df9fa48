import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner import head_watch
from tuner.head_watch import EXIT_HEAD_LOST, answers, patience_seconds, watched_head

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import socket, time
from tuner import head_watch
head_watch._LOOK_SECONDS = 0.05
head = socket.create_server(("127.0.0.1", 0))
with head_watch.watched_head(f"127.0.0.1:{head.getsockname()[1]}", "go on with: THIS"):
    time.sleep(1)
    print("at work", flush=True)
    head.close()
    time.sleep(60)
"""


@pytest.fixture
def head() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_whether_somebody_listens(head: socket.socket) -> None:
    address = address_of(head)
    assert answers(address)
    head.close()
    assert not answers(address)


def test_nothing_happens_while_it_answers(head: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, left = [], []
    monkeypatch.setattr(head_watch, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(head_watch, "answers", lambda address: looks.append(address) or True)
    monkeypatch.setattr(head_watch, "leave", lambda *words: left.append(words))
    with watched_head(address_of(head), "way on"):
        while len(looks) < 5:
            pass
    assert (set(looks), left) == ({address_of(head)}, [])


def test_a_silent_head_ends_the_process_and_says_how_to_go_on() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_gcs_rpc_server_reconnect_timeout_s": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=50, check=False
    )
    assert (done.returncode, done.stdout) == (EXIT_HEAD_LOST, "at work\n"), done.stderr
    first, second = done.stderr.splitlines()
    assert first.startswith("the search cannot go on: the head of the Ray cluster, 127.0.0.1:")
    assert (first.endswith(", has not answered for 0.75 s"), second) == (True, "go on with: THIS")


@pytest.mark.parametrize(("value", "seconds"), [(None, 45.0), ("20", 15.0), ("soon", 45.0)])
def test_it_waits_for_less_than_ray_would(value: str | None, seconds: float) -> None:
    environment = {} if value is None else {"RAY_gcs_rpc_server_reconnect_timeout_s": value}
    assert patience_seconds(environment) == seconds
