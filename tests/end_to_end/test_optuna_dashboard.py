"""`optuna-dashboard sqlite:///DIR/study.db` beside a process that writes the ledger: it shows all and harms nothing."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import ROOT
from tests.s3_server import free_port
from tuner.ledger import Ledger

pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed: pip install -e '.[dev]'")
START_SECONDS = 120
NUM_BEFORE, NUM_IN_ALL = 2, 6
WRITER = """
import sys
from pathlib import Path
from tests.tuner.mirrored_search import Search
search = Search(Path(sys.argv[1]), "night1")
for number in range(int(sys.argv[3])):
    if number == int(sys.argv[2]):
        print("go on?", flush=True)
        sys.stdin.readline()
    search.ask()
    search.report(number, *range(1, 10))
    search.ledger.tell(number, "complete" if number % 2 == 0 else "stopped")
search.ask()
search.report(number + 1, 1)
print("running", flush=True)
sys.stdin.readline()
search.ledger.tell(number + 1, "complete")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work") / "runs" / "night1"


@pytest.fixture(scope="module")
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a ledger; it waits for a line after the first trials, and again after the others."""
    command = [sys.executable, "-c", WRITER, str(folder), str(NUM_BEFORE), str(NUM_IN_ALL)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def dashboard(folder: Path, writer: subprocess.Popen[str]) -> Iterator[str]:
    """Its address, once it answers; the ledger has the first trials by then."""
    assert writer.stdout is not None
    assert writer.stdout.readline() == "go on?\n"
    port = free_port()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("optuna-dashboard"), f"sqlite:///{folder / 'study.db'}", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + START_SECONDS
        while not _answers(address):
            assert process.poll() is None and time.monotonic() < until, "it does not answer"
            time.sleep(0.2)
        yield address
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError):
        read(f"{address}/api/meta")
        return True
    return False


def read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())


def test_it_reads_a_live_ledger(dashboard: str, folder: Path, writer: subprocess.Popen[str]) -> None:
    [study] = read(f"{dashboard}/api/studies")["study_summaries"]
    before = read(f"{dashboard}/api/studies/{study['study_id']}")["trials"]
    assert [(trial["number"], trial["state"]) for trial in before] == [(0, "Complete"), (1, "Pruned")]

    assert writer.stdin is not None and writer.stdout is not None
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == "running\n"
    records = Ledger.read(folder).records()
    states = {"complete": "Complete", "stopped": "Pruned", "running": "Running"}
    until = time.monotonic() + START_SECONDS
    while (
        len(trials := read(f"{dashboard}/api/studies/{study['study_id']}")["trials"]) <= NUM_IN_ALL
    ):  # it keeps them for a while
        assert time.monotonic() < until, trials
        time.sleep(0.5)
    assert [(trial["number"], trial["state"]) for trial in trials] == [(r.number, states[r.state]) for r in records]
    for trial, record in zip(trials, records, strict=True):
        curve = [(point["step"], point["value"]) for point in trial["intermediate_values"]]
        assert curve == [(report["budget"], report["score"]) for report in record.reports]
        if record.state == "complete":
            assert trial["values"] == [record.score]
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert writer.wait(60) == 0
    after = Ledger.read(folder).records()
    assert after[:-1] == records[:-1] and after[-1].state == "complete"


def test_it_listens_on_the_loopback_alone(dashboard: str) -> None:
    import psutil

    port = int(dashboard.rpartition(":")[2])
    listening = [c.laddr.ip for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port]
    assert listening == ["127.0.0.1"]
