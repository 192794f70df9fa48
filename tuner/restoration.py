"""A ledger that was put together again takes the place of the damaged one, whose files are kept, whenever the driver is killed.

The new one is made aside.  Once it is whole, and on the disk, it is given a name that says so: until then all that was there
stands as it was, and from then on `finish` does the rest, as often as it takes.
"""

import contextlib
import datetime
import os
import sqlite3
from pathlib import Path

from trainables.checkpoints import link_or_copy, sync_path
from tuner.backup import copy_store
from tuner.ledger import check_readable, first_line
from tuner.ledger_places import LEDGER_FILE, READY, WAL_FILE, LedgerError
from tuner.ledger_rows import HEAD, new_rows, read_header, remove_trial, write_header, write_trial, writing
from tuner.repair_plan import Repair, now, num_reports

RESTORATIONS = "restorations"
_ASIDE, _KEPT = ".study.db.restored", ".study.db.kept"
_INDEX = f"{LEDGER_FILE}-shm"


class UnreadableError(LedgerError):
    """What was put together cannot be read."""


def restore(folder: Path, base: Path, damage: list[str], repair: Repair) -> list[str]:
    """Makes the new ledger, gives the old files other names, and puts it in place.

    Args:
        folder: of the search.
        base: the ledger, or its backup, on which it is built.
        damage: what was found.
        repair: what is to be changed in it.

    Returns:
        What was found and done, a line each.

    Raises:
        UnreadableError: what came of it cannot be read; nothing was changed.
        LedgerError: it could not be written; nothing was changed.
    """
    aside, count = folder / _ASIDE, _free_count(folder)
    try:
        copy_store(base, aside)
        lines = _write(folder, aside, base, damage, repair, count)
        _check(aside, base)
        with contextlib.closing(sqlite3.connect(aside)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        sync_path(aside)
        os.replace(aside, folder / f"{READY}{count}")
    except sqlite3.Error as error:
        raise LedgerError(f"{aside}: cannot be written: {first_line(error)}") from error
    finally:
        aside.unlink(missing_ok=True)
    sync_path(folder)
    finish(folder)
    return lines


def finish(folder: Path) -> bool:
    """Puts a ledger that is ready in its place, where a driver was killed before it had done so.

    Its log goes first: beside the new ledger it would be taken for that one's.

    Returns:
        Whether there was one.
    """
    found = [path for path in folder.glob(f"{READY}*") if path.name.removeprefix(READY).isdigit()]
    for ready in found:
        ledger, log, kept = folder / LEDGER_FILE, folder / WAL_FILE, folder / _KEPT
        count = ready.name.removeprefix(READY)
        if log.exists():
            log.rename(_damaged(log, count))
        (folder / _INDEX).unlink(missing_ok=True)
        if ledger.exists() and not _damaged(ledger, count).exists():
            kept.unlink(missing_ok=True)
            link_or_copy(ledger, kept)
            kept.rename(_damaged(ledger, count))
        sync_path(folder)
        os.replace(ready, ledger)
        sync_path(folder)
    return bool(found)


def _write(folder: Path, aside: Path, base: Path, damage: list[str], repair: Repair, count: int) -> list[str]:  # noqa: PLR0917
    """Changes the copy; what was found and done, which stands in its header, too."""
    lines = [*damage, *repair.notes]
    if base != folder / LEDGER_FILE:
        lines.append(f"{base}: taken up in its place, as it was {_age(base)}")
    with writing(aside) as connection:
        for number in repair.strays:
            remove_trial(connection, number)
            lines.append(f"trial {number}: none of this number was asked; its rows were left out")
        for number, (rows, why) in sorted(repair.trials.items()):
            write_trial(connection, rows)
            lines.append(f"trial {number}: {rows[HEAD][0]['state'].lower()}, {num_reports(rows)} reports, taken from {why}")
        for number in repair.lost:
            reason = ["lost", "the ledger was damaged, and nothing else knew of it"]
            write_trial(connection, new_rows(number, "FAIL", {"reason": reason, "config": {}}, now(), now()))
            lines.append(f"trial {number}: lost; it is written down as failed")
        old = [path for path in (folder / LEDGER_FILE, folder / WAL_FILE) if path.exists()]
        lines += [f"{path}: kept as {_damaged(path, count).name}" for path in old]
        before = read_header(connection).get(RESTORATIONS, [])
        write_header(connection, RESTORATIONS, [*before, {"when": f"{now()} UTC", "told": lines}])
    return lines


def _check(aside: Path, base: Path) -> None:
    try:
        check_readable(aside)
    except LedgerError as error:
        raise UnreadableError(str(error).replace(str(aside), str(base))) from error


def _free_count(folder: Path) -> int:
    """The number under which the old files are kept."""
    count = 1
    while any(_damaged(folder / name, count).exists() for name in (LEDGER_FILE, WAL_FILE)):
        count += 1
    return count


def _damaged(path: Path, count: int | str) -> Path:
    return path.with_name(f"{path.name}.damaged-{count}")


def _age(path: Path) -> str:
    return f"at {datetime.datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M:%S}"
