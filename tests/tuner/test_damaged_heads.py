"""Every single bit of a trial's row, in the file itself: whichever flips, the ledger is whole again, or says what is damaged."""

import contextlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.ledger_check import differences
from tests.tuner.played_search import by_number, drive
from tests.tuner.test_recovery import HEADER, Killed, acknowledged
from tuner.backup import Keeper
from tuner.ledger import Ledger
from tuner.ledger_places import LEDGER_FILE, READY, LedgerError
from tuner.ledger_rows import only_reading, read_states
from tuner.recovery import recover
from tuner.restoration import finish
from tuner.seals import SEALS, seals
from tuner.search_folder import trial_folder
from tuner.store_check import problems_of_store

NUMBERS = "tritune_one_trial_a_number"
STRIDE = 97
"""Of the bits each so many is flipped, where not all are."""


@pytest.fixture(scope="module", params=["with the index of numbers", "of an older driver"])
def small(request: pytest.FixtureRequest, toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search that was killed: one trial has ended, one runs, and one waits; all is in one file."""
    folder: Path = tmp_path_factory.mktemp("small") / "search"
    ledger = toy.new_ledger(folder)
    for key, value in {**HEADER, SEALS: seals(HEADER, HEADER)}.items():
        ledger.set_header(key, value)
    ledger.enqueue([{"optimizer.lr": lr, "heads.*.kind": "linear"} for lr in (1e-4, 1e-5, 1e-3)])
    keeper = Keeper(folder, every_seconds=1e9)
    keeper.close()

    def listen(event: str, record: Any) -> None:
        keeper(event, record)
        if record.number == 1 and event == "report":
            raise Killed

    with contextlib.suppress(Killed):
        drive(toy, ledger, by_number, listen)
    ledger._engine.dispose()
    with contextlib.closing(sqlite3.connect(folder / LEDGER_FILE)) as connection:
        if request.param == "of an older driver":
            connection.execute(f"DROP INDEX {NUMBERS}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert problems_of_store(folder / LEDGER_FILE) == [] and recover(folder) == []
    with only_reading(folder / LEDGER_FILE) as connection:
        states = read_states(connection)
    assert states.pop(0) in {"COMPLETE", "PRUNED"} and states == {1: "RUNNING", 2: "WAITING"}
    return folder


def bytes_of_heads(file: Path) -> Iterator[int]:
    """Where the rows of the table of trials lie in a ledger."""
    with only_reading(file) as connection:
        [root] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'trials'").fetchone()
        [size] = connection.execute("PRAGMA page_size").fetchone()
    page = file.read_bytes()[(root - 1) * size : root * size]
    assert page[0] == 13, "the table has one page"
    num_cells, begin = int.from_bytes(page[3:5], "big"), int.from_bytes(page[5:7], "big")
    assert num_cells >= 3
    yield from ((root - 1) * size + offset for offset in range(begin, size))


def check_flipped(small: Path, folder: Path, byte: int, bit: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(small, folder)
    with (folder / LEDGER_FILE).open("r+b") as file:
        file.seek(byte)
        [value] = file.read(1)
        file.seek(byte)
        file.write(bytes([value ^ 1 << bit]))
    place = f"byte {byte}, bit {bit}"
    told = recover(folder)
    assert differences(acknowledged(small), acknowledged(folder)) == [], place
    found, wanted = Ledger.read(folder).records(), Ledger.read(small).records()
    assert [record.number for record in found] == [record.number for record in wanted], place
    assert [record.state for record in found] == [record.state for record in wanted], place
    assert found == wanted or told, place
    assert recover(folder) == [], place


def test_a_flipped_bit_of_a_head_is_mended(small: Path, tmp_path: Path) -> None:
    places = [(byte, bit) for byte in bytes_of_heads(small / LEDGER_FILE) for bit in range(8)]
    for byte, bit in places[::STRIDE]:
        check_flipped(small, tmp_path / "search", byte, bit)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_each_flipped_bit_of_a_head_is_mended(small: Path, tmp_path: Path) -> None:
    for byte in bytes_of_heads(small / LEDGER_FILE):
        for bit in range(8):
            check_flipped(small, tmp_path / "search", byte, bit)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("state = 'RUNNINC'", "its record"),
        ("datetime_start = replace(datetime_start, '-', 'm')", "its record"),
        ("number = 66", "none of this number was asked"),
    ],
)
@pytest.mark.parametrize("number", [0, 1])
def test_a_changed_head_is_put_right_from_the_record(small: Path, tmp_path: Path, change: str, word: str, number: int) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "search"))
    with contextlib.closing(sqlite3.connect(folder / LEDGER_FILE)) as connection, connection:
        connection.execute(f"UPDATE trials SET {change} WHERE number = {number}")
    told = recover(folder)
    assert any(word in line for line in told), told
    assert Ledger.read(folder).records() == Ledger.read(small).records()


@pytest.mark.parametrize("name", ["0099", "0003"])
def test_an_empty_folder_is_no_trial(small: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "search"))
    (folder / "trials" / name).mkdir(exist_ok=True)
    assert recover(folder) == []


def test_a_folder_far_from_all_trials_is_none(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "search"))
    trial_folder(folder, 99).mkdir()
    (trial_folder(folder, 99) / "log.txt").write_text("mine")
    assert recover(folder) == []


def lines_of_recovery(folder: Path) -> int:
    """How many steps a recovery takes."""
    return _recover_until(folder, None)


def _recover_until(folder: Path, last: int | None) -> int:
    """Recovers in a process that ends with that step of what puts the new ledger in its place; how many there were."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            code = _count_steps(folder, last, writing)
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in {0, 9}, said
    return int(said or b"0")


def _count_steps(folder: Path, last: int | None, pipe: int) -> int:
    steps = 0

    def trace(frame: Any, event: str, _argument: Any) -> Any:
        nonlocal steps
        if Path(frame.f_code.co_filename).name != "restoration.py" and frame.f_code.co_name != "copy_store":
            return None
        if event == "line":
            if steps == last:
                os._exit(9)
            steps += 1
        return trace

    sys.settrace(trace)
    recover(folder)
    sys.settrace(None)
    os.write(pipe, str(steps).encode())
    return 0


@pytest.mark.parametrize("damage", ["ledger", "log"])
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_recovery_that_is_killed_at_any_step_is_done_by_the_next(small: Path, tmp_path: Path, damage: str) -> None:
    damaged = Path(shutil.copytree(small, tmp_path / "damaged"))
    if damage == "ledger":
        (damaged / LEDGER_FILE).write_bytes(b"")
    else:
        _damage_log(damaged)
    whole = Path(shutil.copytree(damaged, tmp_path / "whole"))
    recover(whole)
    kept = {path.name: path.read_bytes() for path in whole.glob("*.damaged-*")}
    num_steps = lines_of_recovery(Path(shutil.copytree(damaged, tmp_path / "counted")))
    assert num_steps > 30
    for step in range(num_steps):
        folder = tmp_path / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(damaged, folder)
        _recover_until(folder, step)
        recover(folder)
        place = f"killed at step {step} of {num_steps}"
        assert Ledger.read(folder).records() == Ledger.read(whole).records(), place
        assert Ledger.read(folder).header.keys() == Ledger.read(whole).header.keys(), place
        assert {path.name: path.read_bytes() for path in folder.glob("*.damaged-*")} == kept, place
        assert not finish(folder), place


@pytest.mark.parametrize("step", ["rename", "unlink", "replace"])
def test_a_recovery_that_is_killed_while_names_change_is_done_by_the_next(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    damaged = Path(shutil.copytree(small, tmp_path / "damaged"))
    _damage_log(damaged)
    whole, folder = (Path(shutil.copytree(damaged, tmp_path / name)) for name in ("whole", "killed"))
    recover(whole)
    kept = {path.name: path.read_bytes() for path in whole.glob("*.damaged-*")}
    owner, real = (os, os.replace) if step == "replace" else (Path, getattr(Path, step))

    def killed(source: Path, *arguments: Any, **words: Any) -> Any:
        if source.name.startswith((LEDGER_FILE, READY)):
            raise Killed
        return real(source, *arguments, **words)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(Killed):
            recover(folder)
    recover(folder)
    assert Ledger.read(folder).records() == Ledger.read(whole).records()
    assert Ledger.read(folder).header.keys() == Ledger.read(whole).header.keys() > {"later 0"}
    Ledger.open(folder).set_header("new", "z" * 5000)
    assert {path.name: path.read_bytes() for path in folder.glob("*.damaged-*")} == kept


def _damage_log(folder: Path) -> None:
    """A log with a changed bit in its middle, of events that nothing else knows."""
    shutil.copytree(folder, writer := folder.with_name("writer"))
    ledger = Ledger.open(writer)
    for number in range(6):
        ledger.set_header(f"later {number}", "y" * 3000)
    for name in (LEDGER_FILE, f"{LEDGER_FILE}-wal"):
        shutil.copy(writer / name, folder / name)
    ledger._engine.dispose()
    content = bytearray((folder / f"{LEDGER_FILE}-wal").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / f"{LEDGER_FILE}-wal").write_bytes(content)


def test_an_unfinished_recovery_is_named_by_whoever_reads(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "search"))
    shutil.copy(folder / LEDGER_FILE, folder / ".study.db.ready-1")
    with pytest.raises(LedgerError, match="a driver was killed while it put it together again"):
        Ledger.read(folder)
    recover(folder)
    assert Ledger.read(folder).records() and (folder / f"{LEDGER_FILE}.damaged-1").exists()
