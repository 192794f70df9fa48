"""What a damaged ledger held is put together again: from its backup, the trials' records and their checkpoints.

Done before a search goes on, under its lock.  A whole ledger is compared with what the trials' folders know, and nothing is
written.  Otherwise a new one is made aside, the damaged files get another name (none is ever deleted), and the new one takes the
ledger's place.  What was found and done is told, and stands in the ledger's header under `restorations`.
"""

import contextlib
import datetime
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from trainables.checkpoints import link_or_copy, newest_good, sync_path
from trainables.paths import read_yaml
from trainables.plain_files import read_json
from tuner.backup import SEALS, RecordError, broken_seals, copy_store, read_record
from tuner.ledger import first_line
from tuner.ledger_places import BACKUP_FILE, LEDGER_FILE, LedgerError
from tuner.ledger_rows import (
    ENDED,
    HEAD,
    SCORES,
    USER,
    WAITING,
    Rows,
    attributes_of,
    holds,
    new_rows,
    only_reading,
    read_header,
    read_ids,
    read_states,
    read_trial,
    state_of,
    write_header,
    write_trial,
    writing,
)
from tuner.search_folder import TRIALS, trial_folder
from tuner.settings import WITHOUT_LOST
from tuner.wal import problem_of_log

RESTORATIONS = "restorations"
_ASIDE = ".study.db.restored"
_LOG, _INDEX = f"{LEDGER_FILE}-wal", f"{LEDGER_FILE}-shm"
_NEEDED = ("settings", "space", "base", "data_hashes")
_MAX_SHOWN = 3


@dataclass
class Repair:
    """What is to be written into a ledger.

    Attributes:
        trials: each with its rows and where they come from.
        lost: trials of which nothing is left but a number.
        notes: what was found and needs no repair.
    """

    trials: dict[int, tuple[Rows, str]] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.trials or self.lost)


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
    if not ledger.exists() and not backup.exists():
        return []  # no search, or one from elsewhere: whoever opens it says so
    damage = problems_of_store(ledger)
    log_damage = [problem for problem in [problem_of_log(folder / _LOG)] if problem]
    base = ledger
    if damage:
        if without := ([f"{backup}: missing"] if not backup.exists() else problems_of_store(backup)):
            if not backup.exists() and ledger.exists() and _is_half_set_up(ledger):
                return []
            raise LedgerError("\n".join([*damage, *without, f"{folder}: the search cannot go on without its ledger"]))
        base = backup
    repair = plan_repair(folder, base)
    if base == ledger and backup.exists():
        repair.notes += [f"{problem}; it is made again from the ledger" for problem in problems_of_store(backup)]
    if not (damage or log_damage or repair):
        return repair.notes
    if repair.lost and not without_lost:
        raise LedgerError("\n".join([*damage, *log_damage, *_words_for_lost(folder, repair.lost)]))
    return _restore(folder, base, [*damage, *log_damage], repair)


def problems_of_store(path: Path) -> list[str]:
    """What is wrong with a ledger or a backup as a file; each sentence names it.  Empty: it is whole."""
    if not path.exists():
        return [f"{path}: missing"]
    if path.stat().st_size == 0:
        return [f"{path}: empty"]
    try:
        with only_reading(path) as connection:
            found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_MAX_SHOWN})")]
            problems = [f"{path}: {line}" for row in found if row != "ok" for line in row.splitlines()[:_MAX_SHOWN]]
            header = {} if problems else read_header(connection)
    except (sqlite3.Error, ValueError, OSError) as error:
        return [f"{path}: cannot be read: {first_line(error)}"]
    if problems:
        return problems
    missing = [key for key in _NEEDED if key not in header]
    if missing:
        return [f"{path}: its header lacks {', '.join(missing)}"]
    return [f"{path}: its header's {key} is not what its sum says" for key in broken_seals(header)]


def plan_repair(folder: Path, store: Path) -> Repair:
    """Compares a store with what the backup and the trials' folders know of its trials.

    Raises:
        LedgerError: the store cannot be read any more.
    """
    repair = Repair()
    try:
        with only_reading(store) as connection, _second(folder, store) as other:
            states = read_states(connection)
            numbers = sorted({*states, *_numbers_of(folder), *(read_states(other) if other else {})})
            rungs = list(read_header(connection).get("rungs", []))
            ids, other_ids = read_ids(connection), read_ids(other) if other else {}
            for number in numbers:
                here = read_trial(connection, number, ids)
                in_backup = None
                if other is not None and state_of(here) not in ENDED:
                    in_backup = read_trial(other, number, other_ids)
                _compare(folder, number, (here, in_backup), rungs, repair)
    except (sqlite3.Error, ValueError) as error:
        raise LedgerError(f"{store}: cannot be read: {first_line(error)}") from None
    known = {*states, *repair.trials, *repair.lost}
    repair.lost += [number for number in range(max(known, default=-1) + 1) if number not in known]
    repair.lost.sort()
    return repair


def _compare(folder: Path, number: int, held: tuple[Rows | None, Rows | None], rungs: list[int], repair: Repair) -> None:
    """Notes what is to become of one trial; `held` is what ledger and backup hold of it."""
    here, in_backup = held
    try:
        record = read_record(folder, number)
    except RecordError as error:
        record = None
        repair.notes.append(f"{error}; it is made again from the ledger")
    if state_of(here) in ENDED:
        if record is not None and state_of(record) in ENDED and record != here:
            repair.trials[number] = record, "its record: the ledger's rows stand otherwise"
        return
    better = _more_of(record, in_backup)
    if better is None:
        if state_of(here) == WAITING and trial_folder(folder, number).is_dir():
            _take_from_checkpoint(folder, number, rungs, repair)
    elif here is None or state_of(better) in ENDED or state_of(here) == WAITING or not holds(here, better):
        repair.trials[number] = _with_reports(better, [], None, rungs), "its record" if better is record else "the backup"


def _take_from_checkpoint(folder: Path, number: int, rungs: list[int], repair: Repair) -> None:
    """A trial that has a folder, but no record that can be read: its checkpoint knows its config and its reports."""
    checkpoint = newest_good(trial_folder(folder, number) / "checkpoints")
    if checkpoint is None:
        repair.lost.append(number)
        return
    state = read_json(checkpoint / "state.json")
    config = read_yaml(checkpoint / "config.yaml")
    attributes = {"config": config, "assignment": {}, "lineage": {"restored_from": checkpoint.name}}
    rows = _with_reports(new_rows(number, "RUNNING", attributes, _now()), state["history"], state.get("applied"), rungs)
    repair.trials[number] = rows, f"{checkpoint.name}, its checkpoint"


def _with_reports(rows: Rows, history: list[dict[str, Any]], applied: Any, rungs: list[int]) -> Rows:
    """A trial's rows with the reports of a checkpoint that they lack; it has passed the rungs before its last report."""
    there = {row["step"] for row in rows[SCORES]}
    new = [report for report in history if int(report["budget"]) not in there]
    attributes: dict[str, Any] = {f"report:{int(report['budget']):09d}": report for report in new}
    attributes |= {
        f"report:{int(report['budget']):09d}": {**report, "applied": applied} for report in new if report["report"] == 1
    }
    attributes |= {f"passed:{rung}": True for rung in rungs if rung < len(there) + len(new)}
    known = attributes_of(rows)
    added = [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items() if key not in known]
    scores = [
        {"step": int(report["budget"]), "intermediate_value": float(report["score"]), "intermediate_value_type": "FINITE"}
        for report in new
    ]
    return {**rows, USER: [*rows[USER], *added], SCORES: [*rows[SCORES], *scores]}


def _restore(folder: Path, base: Path, damage: list[str], repair: Repair) -> list[str]:
    """Makes the new ledger aside, gives the old files other names, and puts the new one in place."""
    ledger, aside = folder / LEDGER_FILE, folder / _ASIDE
    lines = [*damage, *repair.notes]
    copy_store(base, aside)
    if base != ledger:
        lines.append(f"{base}: taken up in its place, as it was {_age(base)}")
    with writing(aside) as connection:
        for number, (rows, why) in sorted(repair.trials.items()):
            write_trial(connection, rows)
            lines.append(f"trial {number}: {rows[HEAD][0]['state'].lower()}, {_num_reports(rows)} reports, taken from {why}")
        for number in repair.lost:
            reason = ["lost", "the ledger was damaged, and nothing else knew of it"]
            write_trial(connection, new_rows(number, "FAIL", {"reason": reason, "config": {}}, _now(), _now()))
            lines.append(f"trial {number}: lost; it is written down as failed")
        put_aside = _put_aside_names(folder) if damage or repair else {}
        lines += [f"{old}: kept as {new.name}" for old, new in put_aside.items()]
        before = read_header(connection).get(RESTORATIONS, [])
        write_header(connection, RESTORATIONS, [*before, {"when": f"{_now()} UTC", "told": lines}])
    with contextlib.closing(sqlite3.connect(aside)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    for old, new in put_aside.items():
        link_or_copy(old, new)
    for name in (_LOG, _INDEX):  # what is in them would be taken for the new ledger's
        (folder / name).unlink(missing_ok=True)
    os.replace(aside, ledger)
    sync_path(folder)
    return lines


def _put_aside_names(folder: Path) -> dict[Path, Path]:
    """The ledger's files -> names that are free for them."""
    count = 1
    while any((folder / f"{name}.damaged-{count}").exists() for name in (LEDGER_FILE, _LOG)):
        count += 1
    files = [folder / name for name in (LEDGER_FILE, _LOG)]
    return {file: file.with_name(f"{file.name}.damaged-{count}") for file in files if file.exists()}


@contextlib.contextmanager
def _second(folder: Path, store: Path) -> Iterator[sqlite3.Connection | None]:
    """The backup beside a ledger, where it is whole; None beside the backup itself."""
    backup = folder / BACKUP_FILE
    if store == backup or not backup.exists() or problems_of_store(backup):
        yield None
        return
    with only_reading(backup) as connection:
        yield connection


def _numbers_of(folder: Path) -> list[int]:
    """Trials that have a folder."""
    parent = folder / TRIALS
    return [int(path.name) for path in parent.iterdir() if path.name.isdigit() and path.is_dir()] if parent.is_dir() else []


def _more_of(one: Rows | None, other: Rows | None) -> Rows | None:
    """What knows more of a trial: that in which it has ended, or that with more reports.  None: neither was told of it."""
    known = [rows for rows in (one, other) if state_of(rows) != WAITING and rows is not None]
    return max(known, key=lambda rows: (state_of(rows) in ENDED, _num_reports(rows)), default=None)


def _num_reports(rows: Rows) -> int:
    return len(rows[SCORES])


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


def _age(path: Path) -> str:
    return f"at {datetime.datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M:%S}"


def _now() -> str:
    """As the ledger's tables have it."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S.%f}"
