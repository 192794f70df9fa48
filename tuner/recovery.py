"""What a damaged ledger held is put together again: from its backup, the trials' records and their checkpoints.

Done before a search goes on, under its lock.  A whole ledger is compared with what the trials' folders know, and nothing is
written.  Otherwise a new one is made aside, the damaged files get another name (none is ever deleted), and the new one takes the
ledger's place.  What was found and done is told, and stands in the ledger's header under `restorations`.
"""

import contextlib
import sqlite3
from pathlib import Path
from shlex import quote

from tuner.ledger import check_readable
from tuner.ledger_places import BACKUP_FILE, LEDGER_FILE, WAL_FILE, LedgerError
from tuner.ledger_rows import only_reading, read_header, read_states
from tuner.repair_plan import Repair, plan_repair
from tuner.restoration import RESTORATIONS, UnreadableError, finish, restore
from tuner.seals import SEALS
from tuner.search_folder import TRIALS
from tuner.settings import WITHOUT_LOST
from tuner.store_check import problems_of_store
from tuner.wal import problem_of_log


def recover(folder: Path, *, without_lost: bool = False) -> list[str]:
    """Makes the ledger of a search hold all that was acknowledged, where it does not.

    Args:
        folder: of the search; its lock is held.
        without_lost: write trials of which nothing is left down as failed, instead of refusing to go on.

    Returns:
        What was found and done, a line each; empty where nothing was wrong.

    Raises:
        LedgerError: it cannot be put together again; says what is missing and what can be done.
    """
    ledger, backup = folder / LEDGER_FILE, folder / BACKUP_FILE
    was_cut_short = finish(folder)
    if not ledger.exists() and not backup.exists():
        return []  # no search, or one from elsewhere: whoever opens it says so
    damage = problems_of_store(ledger)
    if not damage:
        told = _told_last(ledger) if was_cut_short else []
        try:
            return [*told, *_compared(folder, without_lost=without_lost)]
        except UnreadableError as error:
            damage = [str(error)]
    if without := ([f"{backup}: missing"] if not backup.exists() else problems_of_store(backup)):
        if not backup.exists() and ledger.exists() and _is_half_set_up(ledger):
            return []
        raise LedgerError("\n".join([*damage, *without, f"{folder}: the search cannot go on without its ledger"]))
    repair = plan_repair(folder, backup)
    damage += _problems_of_log(folder)
    _refuse_lost(folder, repair, damage, without_lost=without_lost)
    return restore(folder, backup, damage, repair)


def _compared(folder: Path, *, without_lost: bool) -> list[str]:
    """What was found and done where the ledger is whole as a file.

    Raises:
        UnreadableError: it cannot be read all the same, nor what can be made of it.
        LedgerError: trials are lost.
    """
    ledger, backup, damage = folder / LEDGER_FILE, folder / BACKUP_FILE, _problems_of_log(folder)
    try:
        repair = plan_repair(folder, ledger)
    except LedgerError as error:
        raise UnreadableError(str(error)) from error
    if backup.exists():
        repair.notes += [f"{problem}; it is made again from the ledger" for problem in problems_of_store(backup)]
    _refuse_lost(folder, repair, damage, without_lost=without_lost)
    if damage or repair:
        return restore(folder, ledger, damage, repair)
    try:
        check_readable(ledger)
    except LedgerError as error:
        raise UnreadableError(str(error)) from error
    return repair.notes


def _problems_of_log(folder: Path) -> list[str]:
    return [problem for problem in [problem_of_log(folder / WAL_FILE)] if problem]


def _refuse_lost(folder: Path, repair: Repair, damage: list[str], *, without_lost: bool) -> None:
    if repair.lost and not without_lost:
        raise LedgerError("\n".join([*damage, *repair.notes, *_words_for_lost(folder, repair.lost)]))


def _told_last(ledger: Path) -> list[str]:
    """What the driver that was killed would have told of its repair."""
    with only_reading(ledger) as connection, contextlib.suppress(LookupError, TypeError):  # whoever made it may have left it out
        return [str(line) for line in read_header(connection)[RESTORATIONS][-1]["told"]]
    return []


def _is_half_set_up(ledger: Path) -> bool:
    """Whether a search was cut short before its header was whole: nothing was acknowledged yet."""
    try:
        with only_reading(ledger) as connection:
            return not read_states(connection) and SEALS not in read_header(connection)
    except (sqlite3.Error, ValueError):
        return False


def _words_for_lost(folder: Path, lost: list[int]) -> list[str]:
    named = ", ".join(map(str, lost[:20])) + (", ..." if len(lost) > 20 else "")
    return [
        f"{folder / TRIALS}: trials {named}: they were asked, but neither a backup nor a checkpoint says what they were",
        f"to go on without them, as failed: python -m tuner.search --resume {quote(str(folder))} {WITHOUT_LOST}",
    ]
