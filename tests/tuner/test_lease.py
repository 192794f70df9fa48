import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tuner import lease
from tuner.lease import Holder, Lease, LeaseHeldError, LeaseLostError, holder_of
from tuner.ledger import Ledger
from tuner.study_tables import transaction

ELSEWHERE = Holder("0" * 32, "ada@far", "another machine", 7, "1")


@pytest.fixture
def engine(ledger: Ledger) -> sa.Engine:
    return ledger._engine


def study_id(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT study_id FROM studies")).scalar_one())


def held_by(engine: sa.Engine, holder: Holder, seconds: float) -> None:
    with transaction(engine) as connection:
        lease._write(connection, study_id(engine), holder, seconds)


@contextlib.contextmanager
def after_the_look(monkeypatch: pytest.MonkeyPatch, held: Lease | None, act: Callable[[], None]) -> Iterator[None]:
    """Within it `act` is called each time the holder has looked whether it is one, before it writes."""
    look = Lease.check

    def check(self: Lease, connection: sa.Connection) -> None:
        look(self, connection)
        if self is held:
            act()

    with monkeypatch.context() as patch:
        patch.setattr(Lease, "check", check)
        yield


def test_one_holds_it_and_the_other_is_told_who(engine: sa.Engine) -> None:
    held = Lease(engine, study_id(engine))
    with pytest.raises(LeaseHeldError, match=f"{held.holder.name}, process {os.getpid()}"):
        Lease(engine, study_id(engine))
    held.release()
    Lease(engine, study_id(engine)).release()


def test_it_is_taken_once_it_has_lapsed_and_not_before(engine: sa.Engine) -> None:
    held_by(engine, ELSEWHERE, 30)
    with pytest.raises(LeaseHeldError, match="ada@far, process 7"):
        Lease(engine, study_id(engine))
    held_by(engine, ELSEWHERE, -0.001)
    Lease(engine, study_id(engine))


def test_a_holder_whose_process_is_gone_from_this_machine_holds_nothing(engine: sa.Engine) -> None:
    code = (
        "import json, dataclasses; from tuner.lease import Holder; print(json.dumps(dataclasses.asdict(Holder.this_process())))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    gone = Holder(**json.loads(done.stdout))
    assert gone.is_gone
    held_by(engine, gone, 3600)
    Lease(engine, study_id(engine))


def test_a_process_that_got_the_number_of_one_that_is_gone_is_not_it() -> None:
    ours = Holder.this_process()
    assert not ours.is_gone
    assert replace(ours, started="0").is_gone


@pytest.mark.parametrize("place", ["", "another machine"])
def test_of_another_place_nobody_knows_who_is_gone(place: str) -> None:
    assert not replace(Holder.this_process(), pid=2**22 + 1, place=place).is_gone


def test_whoever_lost_it_writes_nothing(ledger: Ledger, engine: sa.Engine) -> None:
    with ledger.held():
        ledger.set_header("before", 1)
        held_by(engine, ELSEWHERE, 30)
        with pytest.raises(LeaseLostError, match="ada@far"):
            ledger.set_header("after", 1)
        with pytest.raises(LeaseLostError):
            ledger.enqueue([{"optimizer.lr": 1e-4}])
    assert "after" not in ledger.header and not ledger._study.trials
    with engine.connect() as connection:
        assert holder_of(connection, study_id(engine)) == ELSEWHERE  # nor does it give back what is not its own


def test_it_is_renewed_while_it_is_held(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = threading.Event()
    renew = Lease.renew

    def tell(self: Lease) -> None:
        renew(self)
        renewed.set()

    monkeypatch.setattr(Lease, "renew", tell)
    with Lease(engine, study_id(engine), seconds=0.2).renewed():
        assert renewed.wait(30)
    with engine.connect() as connection:
        assert holder_of(connection, study_id(engine)) is None


def test_of_two_who_ask_at_once_one_gets_it(ledger: Ledger, tmp_path: Path) -> None:
    engines = [Ledger.open(tmp_path / "search")._engine for _ in range(4)]
    start, got = threading.Barrier(len(engines)), []

    def ask(engine: sa.Engine) -> None:
        start.wait()
        with contextlib.suppress(LeaseHeldError):
            got.append(Lease(engine, 1))

    threads = [threading.Thread(target=ask, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


EVENTS: dict[str, Callable[[Any, Ledger], object]] = {
    "header": lambda _toy, ledger: ledger.set_header("who", "the first"),
    "queue": lambda _toy, ledger: ledger.enqueue([{"optimizer.lr": 1e-4}]),
    "report": lambda toy, ledger: ledger.report(0, toy.report(1, 0.5)),
    "tell": lambda _toy, ledger: ledger.tell(0, "failed", "lost"),
}


@pytest.mark.parametrize("event", EVENTS)
def test_nobody_takes_over_between_the_look_and_the_write(  # noqa: PLR0917 - fixtures and a parameter
    toy: Any, ledger: Ledger, ask: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    ask(ledger)
    second = Ledger.open(tmp_path / "search")
    with second._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    with ledger.held():
        held = ledger._lease
        assert held is not None
        held_by(ledger._engine, replace(held.holder, place="another machine"), -1)  # frozen: it could not renew it

        def take_over() -> None:
            with pytest.raises(LeaseHeldError, match="in the middle of an event"):
                Lease(second._engine, study_id(second._engine))

        with after_the_look(monkeypatch, held, take_over):
            EVENTS[event](toy, ledger)
        with second.held():
            assert second.records() == ledger.records() and second.header == ledger.header
            second.set_header("who", "the second")
            with pytest.raises(LeaseLostError, match="has taken over"):
                ledger.set_header("who", "the first")
    assert Ledger.open(tmp_path / "search").header["who"] == "the second"


def test_of_a_number_there_is_one_trial_whoever_writes(ledger: Ledger, ask: Callable[..., int], tmp_path: Path) -> None:
    stale = Ledger.open(tmp_path / "search")
    assert stale.records() == [] and stale._to_write() == []
    ask(ledger)
    with pytest.raises(sa.exc.IntegrityError):
        ask(stale)
    assert len(Ledger.open(tmp_path / "search").records()) == 1


def test_a_clock_that_was_set_back_keeps_nobody_out_for_longer_than_a_lease(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by(engine, ELSEWHERE, 86_460)
    for _ in range(2):
        with pytest.raises(LeaseHeldError, match="at the earliest in 60 s"):
            Lease(engine, study_id(engine))
    now = lease._now
    monkeypatch.setattr(lease, "_now", lambda connection: now(connection) + 61)
    Lease(engine, study_id(engine))


def test_a_holder_whose_lease_was_cut_holds_it_on(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Lease(engine, study_id(engine))
    held_by(engine, held.holder, 86_460)
    with pytest.raises(LeaseHeldError):
        Lease(engine, study_id(engine))
    now = lease._now
    monkeypatch.setattr(lease, "_now", lambda connection: now(connection) + 61)
    held.renew()
    with pytest.raises(LeaseHeldError):
        Lease(engine, study_id(engine))


HERE = socket.gethostname()
MACHINE = (Holder.this_process().place.split() or [""])[0]


@pytest.mark.parametrize(
    ("name", "place"),
    [(f"ada@{HERE}", "another-start pid:[1]"), (f"ada@{HERE}", ""), ("root@container", f"{MACHINE} pid:[1]")],
    ids=["before the machine was started", "no place", "another container"],
)
def test_whose_folder_lock_is_ours_has_left_this_host(engine: sa.Engine, name: str, place: str) -> None:
    held_by(engine, Holder("0" * 32, name, place, 7, "1"), 3600)
    with pytest.raises(LeaseHeldError):
        Lease(engine, study_id(engine))
    Lease(engine, study_id(engine), folder_is_ours=True)


def test_the_folders_lock_says_nothing_of_another_host_nor_of_a_process_that_is_there(engine: sa.Engine) -> None:
    for other in (ELSEWHERE, Holder.this_process()):
        held_by(engine, other, 30)
        with pytest.raises(LeaseHeldError):
            Lease(engine, study_id(engine), folder_is_ours=True)


def test_a_process_that_its_parent_has_not_asked_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        holder = replace(Holder.this_process(), pid=child.pid, started=lease.process_start(child.pid))
        assert not holder.is_gone
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert holder.is_gone


NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"\\xff\\xfe", 0, 0, 0)
print("named", flush=True)
sys.stdin.read()
"""


def test_a_process_may_have_any_name() -> None:
    arguments = [sys.executable, "-c", NAMED]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdin is not None and child.stdout.readline() == b"named\n"
        assert replace(Holder.this_process(), pid=child.pid, started="1").is_gone
