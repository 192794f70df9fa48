"""A ledger in PostgreSQL is the ledger: the same search comes to the same there, and is taken up from another folder."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.postgresql import needs_server
from tests.tuner.played_search import by_config, drive, outcome
from trainables.parts import ConfigError
from tuner import lease, stores
from tuner.lease import Holder, Lease, LeaseHeldError, LeaseLostError
from tuner.ledger import Ledger
from tuner.ledger_places import POINTER_FILE, LedgerError, check_ledger_url, parse_ledger_url
from tuner.search_folder import check_new, is_live
from tuner.study_tables import transaction

pytestmark = needs_server


@pytest.fixture
def ledger(url: str, tmp_path: Path) -> Ledger:
    (tmp_path / "search").mkdir()
    return Ledger.create(tmp_path / "search", {"id": tmp_path.name, "ended": None}, check_ledger_url(url))


@pytest.mark.parametrize("changes", [{"searcher": "tpe", "trials": 14}, {"searcher": "random"}], ids=str)
def test_a_search_comes_to_the_same_as_in_a_file(toy: Any, ledger: Ledger, tmp_path: Path, changes: dict[str, Any]) -> None:
    in_a_file = toy.new_ledger(tmp_path / "file")
    for one in (ledger, in_a_file):
        drive(toy, one, by_config, **changes)
    assert outcome(ledger) == outcome(in_a_file)
    assert outcome(Ledger.open(tmp_path / "search")) == outcome(ledger)


def test_whatever_event_is_cut_short_the_search_goes_on_to_the_same_end(toy: Any, ledger: Ledger, tmp_path: Path) -> None:
    uncut = toy.new_ledger(tmp_path / "file")
    drive(toy, uncut, by_config)
    folder, more = tmp_path / "search", True
    while more:
        with toy.killed_before_write(3) as done:
            drive(toy, Ledger.open(folder), by_config)
        more = len(done) > 2
    drive(toy, Ledger.open(folder), by_config)
    assert outcome(Ledger.open(folder)) == outcome(uncut)


def test_searches_of_one_database_know_nothing_of_each_other(toy: Any, ledger: Ledger, url: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Ledger.create(tmp_path / "other", {"id": f"{tmp_path.name}-other"}, url)
    drive(toy, other, by_config)
    assert ledger.records() == [] and len(other.records()) == 5


def test_a_copy_of_the_folder_finds_it(toy: Any, ledger: Ledger, tmp_path: Path) -> None:
    drive(toy, ledger, by_config)
    shutil.copytree(tmp_path / "search", tmp_path / "copy")
    assert outcome(Ledger.open(tmp_path / "copy")) == outcome(ledger)
    assert check_new(tmp_path / "copy")


def test_a_second_driver_is_told_who_is_at_work_and_takes_over_once_the_lease_has_lapsed(ledger: Ledger, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "search", tmp_path / "copy")
    copy = Ledger.open(tmp_path / "copy")
    with ledger.held():
        assert is_live(tmp_path / "copy")
        with pytest.raises(LeaseHeldError, match=f"process {os.getpid()}; it must end"), copy.held():
            pass
        _give_to(ledger, replace(Holder.this_process(), place="another machine"), -1)  # frozen: it could not renew it
        with copy.held():
            copy.set_header("writer", "the second")
            with pytest.raises(LeaseLostError, match="has taken over"):
                ledger.set_header("writer", "the first")
    assert Ledger.open(tmp_path / "copy").header["writer"] == "the second"
    assert not is_live(tmp_path / "copy")


def test_a_driver_that_stands_still_in_an_event_is_named_and_ended(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_LOCK_SECONDS", 1)
    monkeypatch.setattr(stores, "_SILENCE_SECONDS", 4)
    first, second = Ledger.open(tmp_path / "search"), Ledger.open(tmp_path / "search")
    held = Lease(first._engine, first._study._study_id)
    _give_to(ledger, replace(held.holder, place="another machine"), -1)
    connection = first._engine.connect()
    connection.begin()
    held.check(connection)
    with pytest.raises(LeaseHeldError, match=f"process {os.getpid()}; it stands still in the middle of an event"):
        Lease(second._engine, second._study._study_id)
    taken = None
    while taken is None:  # until the server has ended the event
        with contextlib.suppress(LeaseHeldError):
            taken = Lease(second._engine, second._study._study_id)
    with pytest.raises(sa.exc.DBAPIError, match="idle-in-transaction"):
        connection.execute(sa.text("SELECT 1"))
    connection.close()
    with pytest.raises(LeaseLostError):
        held.renew()


def test_a_driver_that_was_killed_holds_nothing(ledger: Ledger, tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from tuner.ledger import Ledger\n"
    code += "with Ledger.open(Path(sys.argv[1])).held(): print('held', flush=True); time.sleep(60)"
    arguments = [sys.executable, "-c", code, str(tmp_path / "search")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(LeaseHeldError, match=f"process {process.pid}"), ledger.held():
            pass
        process.send_signal(signal.SIGKILL)
    with ledger.held():
        ledger.set_header("ended", "stopped")


def test_a_database_that_cannot_be_used_is_told_with_its_address(url: str, ledger: Ledger, tmp_path: Path) -> None:
    for wrong in (url.replace("/postgres", "/nosuch"), "postgresql://127.0.0.1:9/x"):
        with pytest.raises(ConfigError, match=r"--ledger: postgresql://.* cannot be used: "):
            check_ledger_url(wrong)
    pointer = tmp_path / "search" / POINTER_FILE
    pointer.write_text(json.dumps({"url": "postgresql://127.0.0.1:9/x", "study": "tritune-x"}))
    with pytest.raises(LedgerError, match="no ledger that can be read"):
        Ledger.open(tmp_path / "search")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("postgresql://me:secret@host/db", "a password must not stand in it"),
        ("postgresql://host/db?password=secret", "a password must not stand in it"),
        ("mysql://host/db", "postgresql://[USER@]HOST"),
        ("runs/study.db", "postgresql://[USER@]HOST"),
        ("", "postgresql://[USER@]HOST"),
    ],
)
def test_another_address_is_refused_and_no_password_repeated(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_ledger_url(text)
    [problem] = caught.value.problems
    assert problem.startswith("--ledger: ") and words in problem and "secret" not in problem


def _give_to(ledger: Ledger, holder: Holder, seconds: float) -> None:
    with transaction(ledger._engine) as connection:
        lease._write(connection, ledger._study._study_id, holder, seconds)


def test_nothing_of_ours_is_left_locked(ledger: Ledger) -> None:
    with ledger._engine.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        assert connection.execute(sa.text(query)).scalar_one() == 0
