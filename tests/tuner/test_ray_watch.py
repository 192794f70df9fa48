import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner import ray_watch
from tuner.ray_watch import EXIT_RAY_LOST, answers, patience_seconds, watched_ray

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import socket, time
from tuner import ray_watch
ray_watch._LOOK_SECONDS = 0.05
head, node = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
addresses = {name: f"127.0.0.1:{server.getsockname()[1]}" for name, server in (("the node", node), ("the head", head))}
with ray_watch.watched_ray(addresses, "go on with: THIS"):
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
    monkeypatch.setattr(ray_watch, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(ray_watch, "answers", lambda address: looks.append(address) or True)
    monkeypatch.setattr(ray_watch, "leave", lambda *words: left.append(words))
    with watched_ray({"the head": address_of(head)}, "way on"):
        while len(looks) < 5:
            pass
    assert (set(looks), left) == ({address_of(head)}, [])


def test_a_silent_head_ends_the_process_and_says_how_to_go_on() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_gcs_rpc_server_reconnect_timeout_s": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=50, check=False
    )
    assert (done.returncode, done.stdout) == (EXIT_RAY_LOST, "at work\n"), done.stderr
    first, second = done.stderr.splitlines()
    assert first.startswith("the search cannot go on: the head, 127.0.0.1:")
    assert (first.endswith(", has not answered for 0.75 s"), second) == (True, "go on with: THIS")


@pytest.mark.parametrize(("value", "seconds"), [(None, 45.0), ("20", 15.0), ("soon", 45.0)])
def test_it_waits_for_less_than_ray_would(value: str | None, seconds: float) -> None:
    environment = {} if value is None else {"RAY_gcs_rpc_server_reconnect_timeout_s": value}
    assert patience_seconds(environment) == seconds
