"""Workers of another kind: real processes that beat once and then do something else."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.end_to_end.conftest import ROOT
from trainables.heartbeat import HEARTBEAT, STACK, read_beat
from tuner.examination import Finding, examine, kill

BEGIN = "import sys, threading, pathlib\nfrom trainables import heartbeat\nheartbeat.begin(pathlib.Path(sys.argv[1]))\n"
HANGS = {
    "runs_in_a_circle": "def runs_in_a_circle():\n    while True: pass\n",
    "waits_for_itself": "def waits_for_itself():\n    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()\n",
}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """`worker(name)`: a process that has begun, and hangs in the function of that name."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        code = f"{BEGIN}{HANGS[name]}print(1, flush=True)\n{name}()\n"
        process = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("name", "state"), [("runs_in_a_circle", "running"), ("waits_for_itself", "waiting")])
@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_silent_worker_says_where_it_stands(
    name: str, state: str, is_stopped: bool, worker: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = worker(name)
    time.sleep(0.1)
    if is_stopped:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    for _ in range(2):  # asked again it says it again
        finding = examine({"folder": str(tmp_path)}, 0.0)
        assert finding.is_there and finding.silent_seconds is not None and finding.silent_seconds > 0
        assert name in finding.stack and finding.stack.count("most recent call first") == 1
        assert finding.state == ("stopped" if is_stopped else state)
        is_stopped = False  # it goes on, to be able to answer
    assert (tmp_path / STACK).read_text().count("most recent call first") == 2


def test_a_worker_that_lives_is_left_in_peace(worker: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path) -> None:
    worker("waits_for_itself")
    finding = examine({"folder": str(tmp_path)}, 3600.0)
    assert finding.is_there and (finding.state, finding.stack) == ("", "")
    assert (tmp_path / STACK).read_text() == ""


def test_a_worker_is_killed_once_and_no_other_process_of_its_number(
    worker: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process, beat = worker("runs_in_a_circle"), read_beat(tmp_path)
    assert beat is not None
    (tmp_path / HEARTBEAT).write_text(json.dumps(asdict(replace(beat, process_start="1"))))
    kill({"folder": str(tmp_path)})
    assert not examine({"folder": str(tmp_path)}, 0.0).is_there
    assert process.poll() is None
    (tmp_path / HEARTBEAT).write_text(json.dumps(asdict(beat)))
    kill({"folder": str(tmp_path)})
    assert process.wait(timeout=20) == -signal.SIGKILL
    assert not examine({"folder": str(tmp_path)}, 0.0).is_there
    kill({"folder": str(tmp_path)})


def test_a_beat_of_another_machine_says_nothing_of_this_ones_processes(
    worker: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process, beat = worker("runs_in_a_circle"), read_beat(tmp_path)
    assert beat is not None
    (tmp_path / HEARTBEAT).write_text(json.dumps(asdict(replace(beat, machine="another"))))
    assert examine({"folder": str(tmp_path)}, 0.0) == Finding(silent_seconds=None)
    kill({"folder": str(tmp_path)})
    assert process.poll() is None


def test_a_worker_that_never_beat_is_not_known(tmp_path: Path) -> None:
    assert examine({"folder": str(tmp_path)}, 0.0).silent_seconds is None
    kill({"folder": str(tmp_path)})
