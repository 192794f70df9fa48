"""A second copy of the ledger beside it, and what each trial's folder holds of its trial.

| file | written |
|---|---|
| `study.backup.db` | when a driver begins, at most every few minutes, and when it ends |
| `trials/0007/record.json` | when trial 7 is asked, reports and has ended: its rows of the ledger, sealed by their sha256 |

`tuner/recovery.py` puts a damaged ledger together again from both, and from checkpoints where a record is damaged as well.  While
the ledger is whole they are only compared with it.
"""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from trainables.background import in_background
from trainables.checkpoints import sync_path
from trainables.files import write_atomically
from trainables.plain_files import read_json
from tuner.ledger import first_line
from tuner.ledger_places import BACKUP_FILE, LEDGER_FILE, RECORD_FILE
from tuner.ledger_rows import ENDED, HEAD, Rows, check_rows, only_reading, read_ids, read_states, read_trial, state_of
from tuner.records import TrialRecord
from tuner.seals import digest
from tuner.search_folder import trial_folder
from tuner.store_check import problems_of_store

_ASIDE = ".study.backup.db.aside"
_BACKUP_SECONDS = 180.0


class RecordError(ValueError):
    """A trial's record is damaged; the message names it and says how."""


class DamagedStoreError(ValueError):
    """What was to be copied is damaged; the message names it and says how."""


def back_up(source: Path, target: Path, aside: Path) -> None:
    """Copies a store as it stands at one moment, whoever writes it meanwhile, into one file without a log beside it.

    Written aside, looked at, synced, renamed: whatever kills the writer, and whatever has befallen the store, the copy that was
    there before stays good.

    Raises:
        sqlite3.Error, OSError: it cannot be read, or the copy not written.
        DamagedStoreError: it is not whole; the copy from before was kept.
    """
    copy_store(source, aside)
    if problems := problems_of_store(aside, told_as=source):
        aside.unlink()
        raise DamagedStoreError(f"the one from before is kept: {problems[0]}")
    os.replace(aside, target)
    sync_path(target.parent)


def copy_store(source: Path, target: Path) -> None:
    """A synced copy of a store, in place of what has that name."""
    for beside in ("", "-journal", "-wal", "-shm"):  # a killed writer's, which would be taken for the new one's
        target.with_name(f"{target.name}{beside}").unlink(missing_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    with only_reading(source) as reader, contextlib.closing(sqlite3.connect(target)) as writer:
        reader.backup(writer)
        writer.execute("PRAGMA journal_mode=DELETE")
    sync_path(target)


class Keeper:
    """Keeps both, while a driver is at work; a listener for the referee, to be called before what sweeps the trial's folder.

    A ledger that is no file beside the trials is left alone: its server is whom to ask for backups.

    Args:
        folder: of the search.
        every_seconds: between two backups, at least.

    Attributes:
        problem: the first thing that could not be written, with its reason; empty: nothing.
    """

    def __init__(self, folder: Path, every_seconds: float = _BACKUP_SECONDS) -> None:
        self._folder, self._every_seconds = folder, every_seconds
        self._is_needed = (folder / LEDGER_FILE).exists()
        self._running: Future[None] | None = None
        self._next = 0.0
        self.problem = ""

    def __call__(self, event: str, record: TrialRecord) -> None:
        """Takes in one event of the referee."""
        self.catch_up([record.number], sync=event != "report")
        if time.monotonic() >= self._next and (self._running is None or self._running.done()):
            self.begin()

    def catch_up(self, numbers: Iterable[int] | None = None, *, sync: bool = True) -> None:
        """Writes the records of these trials, or of all whose folder does not know them as they are."""
        if not self._is_needed:
            return
        try:
            with only_reading(self._folder / LEDGER_FILE) as connection:
                ids = read_ids(connection) if numbers is None else None
                for number in numbers if numbers is not None else _behind(self._folder, connection):
                    if (rows := read_trial(connection, number, ids)) is not None:
                        write_record(self._folder, number, rows, sync=sync)
        except (OSError, sqlite3.Error) as error:
            self._complain(error)

    def close(self) -> None:
        """Writes the last backup, and waits for it."""
        if self._is_needed:
            self.begin()
            assert self._running is not None
            self._settle(self._running)

    def begin(self) -> None:
        """Begins a backup beside whatever else goes on: SQLite's log lets the driver write meanwhile."""
        if not self._is_needed:
            return
        if self._running is not None:
            self._settle(self._running)
        self._next = time.monotonic() + self._every_seconds
        names = (LEDGER_FILE, BACKUP_FILE, _ASIDE)
        self._running = in_background(partial(back_up, *(self._folder / name for name in names)))

    def _settle(self, running: "Future[None]") -> None:
        try:
            running.result()
        except (OSError, sqlite3.Error, DamagedStoreError) as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        self.problem = self.problem or f"no backup of {self._folder / LEDGER_FILE}: {first_line(error)}"


def write_record(folder: Path, number: int, rows: Rows, *, sync: bool = True) -> None:
    """Writes what a trial's folder holds of its trial, sealed.

    Args:
        folder: of the search.
        number: of the trial.
        rows: of the trial.
        sync: wait for the disk.  Without, a machine that fails may leave it damaged, which its seal tells.

    Raises:
        OSError: it could not be written; the one before stands.
    """
    path = trial_folder(folder, number) / RECORD_FILE
    content = json.dumps({"trial": number, "sha256": digest(rows), "rows": rows}).encode()
    if sync:
        write_atomically(path, content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{RECORD_FILE}.aside")
    aside.touch(mode=0o600)
    aside.write_bytes(content)
    aside.replace(path)


def read_record(folder: Path, number: int) -> Rows | None:
    """What a trial's folder holds of its trial; None where it holds no record.

    Raises:
        RecordError: the record is damaged, or another trial's.
    """
    path = trial_folder(folder, number) / RECORD_FILE
    try:
        sealed = read_json(path)
        rows = check_rows(sealed["rows"])
        is_whole = sealed["sha256"] == digest(rows) and sealed["trial"] == number == rows[HEAD][0]["number"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: cannot be read: {first_line(error)}") from None
    if not is_whole:
        raise RecordError(f"{path}: its content is not what its sum says")
    return rows


def _behind(folder: Path, connection: sqlite3.Connection) -> list[int]:
    """Trials whose folder has no record, a damaged one, or one from before they ended."""
    behind = []
    for number, state in read_states(connection).items():
        try:
            record = read_record(folder, number)
        except RecordError:
            record = None
        if (state in ENDED and state_of(record) != state) or (state == "RUNNING" and record is None):
            behind.append(number)
    return behind
