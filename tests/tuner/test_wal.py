"""The write-ahead log as SQLite itself writes it."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from tuner.wal import problem_of_log

ROWS_OF_A_LARGE_ONE = 40
FRAME_BYTES = 24 + 4096


def opened(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "s.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


def insert(connection: sqlite3.Connection, num_rows: int) -> None:
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * num_rows)


def killed(folder: Path, to: Path) -> Path:
    """The files of a store as a kill would leave them."""
    shutil.copytree(folder, to)
    (to / "s.db-shm").unlink(missing_ok=True)
    return to


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three transactions in the log, none in the file but its first page."""
    (tmp_path / "begun").mkdir()
    connection = opened(tmp_path / "begun")
    connection.execute("CREATE TABLE t (x)")
    for _ in range(3):
        connection.execute("BEGIN")
        insert(connection, 3)
        connection.execute("COMMIT")
    folder = killed(tmp_path / "begun", tmp_path / "store")
    connection.close()
    return folder


def test_a_log_that_was_written_to_its_end_has_no_problem(store: Path) -> None:
    assert (store / "s.db-wal").stat().st_size > 0
    assert problem_of_log(store / "s.db-wal") == ""
    assert problem_of_log(store / "none") == ""


def test_what_a_killed_transaction_leaves_is_no_problem_though_a_smaller_one_is_written_over_it(
    store: Path, tmp_path: Path
) -> None:
    """SQLite writes a transaction's frames one after the other, the one that ends it last."""
    large = opened(store)
    large.execute("BEGIN")
    insert(large, ROWS_OF_A_LARGE_ONE)
    large.execute("COMMIT")
    left = killed(store, tmp_path / "left")
    large.close()
    log = left / "s.db-wal"
    log.write_bytes(log.read_bytes()[:-FRAME_BYTES])
    log_bytes = log.stat().st_size
    assert problem_of_log(log) == ""
    small = opened(left)
    insert(small, 1)
    again = killed(left, tmp_path / "again")
    small.close()
    assert (again / "s.db-wal").stat().st_size == log_bytes
    assert problem_of_log(again / "s.db-wal") == ""
    assert opened(again).execute("SELECT count(*) FROM t").fetchone() == (10,)


@pytest.mark.parametrize("seed", range(10))
def test_a_bit_flipped_in_all_but_the_last_transaction_is_noticed(store: Path, seed: int) -> None:
    log, chance = store / "s.db-wal", random.Random(seed)
    content = bytearray(log.read_bytes())
    assert len(content) > 4 * FRAME_BYTES
    content[chance.randrange(0, 32 + 2 * FRAME_BYTES)] ^= 1 << chance.randrange(8)
    log.write_bytes(content)
    assert str(log) in problem_of_log(log)


def test_a_log_that_is_cut_off_is_named(store: Path) -> None:
    log = store / "s.db-wal"
    content = log.read_bytes()
    log.write_bytes(content[:20])
    assert problem_of_log(log).endswith("cut off within its first 32 bytes")
    log.write_bytes(content[:-100])
    assert problem_of_log(log).endswith("cut off in the middle of a frame")
