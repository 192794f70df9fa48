"""Row 9: MLflow is killed, never there, stopped or locked; the search does not notice, and nothing is missing afterwards."""

import contextlib
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Bench
from tests.faults import driving
from tests.faults.ledger_check import Observer, problems_of
from tests.faults.mlflow_server import Server, mirror_problems, server_in
from tests.faults.scorecard import Row
from tuner import mlflow_store

FAULTS = ["killed", "never up", "stopped", "locked"]
ARGS = ("--searcher", "random", "--early-stopping", "none", "--trials", "4")
SECONDS, FEW_SECONDS = 60.0, 8.0


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The ``noload``")
@pytest.mark.parametrize("fault", FAULTS)
def test_mlflow_fails_and_the_search_goes_on(
    fault: str, make_bench: Callable[[str], Bench], marked_bench: Bench, row: Callable[..., Row], full: bool
) -> None:
    seconds = SECONDS if full else FEW_SECONDS
    filled = row(9, f"MLflow {fault}" + (f" for {seconds:g} s" if fault != "never up" else ""))
    bench, plain = marked_bench, make_bench("plain")
    with server_in(bench.folder / "server", bench.environment) as server:
        args = (*ARGS, "--budget", "18000" if full else "1800", "--tracking-uri", _uri(fault, server))
        alone, trials_alone = _seconds(plain, *args[:-2]), _trial_seconds(plain)
        with (
            Observer(driving.folder_of(bench) / "study.db") as observer,
            _failing(fault, server, observer, seconds),
        ):
            filled.runs, beside = 1, _seconds(bench, *args)
            observer.look()
        trials = _trial_seconds(bench)
        filled.notes.append(
            f"MLflow {fault}: its trials took {trials:.1f} s, {trials / trials_alone - 1:+.1%} beside {trials_alone:.1f} s "
            f"without any fault; from command to exit, 20 s of waiting at most, {beside:.1f} s, {beside / alone - 1:+.1%}"
        )
        if fault == "never up":
            server.start()
        _wait_until_up(fault, server)
        synced = bench.run("tuner.tracking", "sync", driving.FOLDER)
        if synced.code != 0:
            filled.failures.append(f"sync ended with {synced.code}: {synced.out[-300:]}")
        filled.failures += mirror_problems(server.store if fault == "locked" else server.uri, driving.folder_of(bench))
    filled.failures += [*observer.problems, *problems_of(driving.folder_of(bench), observer.seen, 4)]
    assert filled.failures == []


def _uri(fault: str, server: Server) -> str:
    """Where the search sends its points; a server is started for those who fail later."""
    if fault == "locked":
        mlflow_store.connect(server.store)
        return server.store
    return server.uri if fault == "never up" else server.start().uri


def _seconds(bench: Bench, *args: str) -> float:
    """How long a search takes, from its command to its exit."""
    begun = time.monotonic()
    assert driving.run(bench, *driving.command(bench, *args)) == 0, driving.said(bench)
    return time.monotonic() - begun


def _trial_seconds(bench: Bench) -> float:
    """From the first trial's beginning to the last one's end, by the ledger."""
    records = driving.records(bench)
    return (max(r.ended for r in records if r.ended) - min(r.started for r in records if r.started)).total_seconds()


@contextlib.contextmanager
def _failing(fault: str, server: Server, observer: Observer, seconds: float) -> Iterator[None]:
    """Lets it fail from the first report on, for so long."""
    over = threading.Event()

    def fail() -> None:
        while not observer.num("report") and not over.is_set():
            time.sleep(0.05)
        with _fault(fault, server):
            over.wait(seconds)

    thread = threading.Thread(target=fail)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        over.set()


@contextlib.contextmanager
def _fault(fault: str, server: Server) -> Iterator[None]:
    if fault == "killed":
        server.signal(signal.SIGKILL)
        yield
        server.start()
    elif fault == "stopped":
        server.signal(signal.SIGSTOP)
        yield
        server.signal(signal.SIGCONT)
    elif fault == "locked":
        path = Path(server.store.removeprefix("sqlite:///"))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield
            connection.execute("ROLLBACK")
    else:
        yield


def _wait_until_up(fault: str, server: Server) -> None:
    while fault != "locked" and not server.answers():
        time.sleep(0.5)
