"""What a ledger lacks of its trials, or holds otherwise: compared with its backup, the trials' records and their checkpoints."""

import contextlib
import datetime
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.checkpoints import newest_good
from trainables.paths import read_yaml
from trainables.plain_files import read_json
from tuner.backup import RecordError, read_record
from tuner.ledger import first_line
from tuner.ledger_places import BACKUP_FILE, LedgerError
from tuner.ledger_rows import (
    ENDED,
    HEAD,
    RUNNING,
    SCORES,
    USER,
    WAITING,
    Rows,
    attributes_of,
    holds,
    is_head,
    new_rows,
    only_reading,
    read_header,
    read_ids,
    read_states,
    read_trial,
    state_of,
)
from tuner.search_folder import TRIALS, trial_folder
from tuner.store_check import problems_of_store


@dataclass
class Repair:
    """What is to be written into a ledger.

    Attributes:
        trials: each with its rows and where they come from.
        lost: trials of which nothing is left but a number.
        strays: numbers under which the rows of another trial stand, or none that was asked.
        notes: what was found and needs no repair.
    """

    trials: dict[int, tuple[Rows, str]] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    strays: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.trials or self.lost or self.strays)


def plan_repair(folder: Path, store: Path) -> Repair:
    """Compares a store with what the backup and the trials' folders know of its trials.

    Raises:
        LedgerError: the store cannot be read any more.
    """
    repair = Repair()
    try:
        with only_reading(store) as connection, _second(folder, store) as other:
            _compare_all(folder, connection, other, repair)
    except (sqlite3.Error, ValueError) as error:
        raise LedgerError(f"{store}: cannot be read: {first_line(error)}") from None
    return repair


def _compare_all(folder: Path, connection: sqlite3.Connection, other: sqlite3.Connection | None, repair: Repair) -> None:
    states, in_backup = read_states(connection), read_states(other) if other else {}
    rungs = list(read_header(connection).get("rungs", []))
    ids, other_ids = read_ids(connection), read_ids(other) if other else {}
    vouched = set(in_backup) if other else set(states)  # a backup vouches for itself
    for number in sorted({*states, *in_backup, *_numbers_of(folder)}):
        here, second = read_trial(connection, number, ids), None
        if other is not None and state_of(here) not in ENDED:
            second = read_trial(other, number, other_ids)
        if _compare(folder, number, (here, second), rungs, repair):
            vouched.add(number)
    unknown = sorted(set(states) - vouched - set(repair.trials))
    repair.strays = _strays(connection, unknown, {*states, *vouched, *repair.trials, *repair.lost}, repair)
    _count_lost({*states, *repair.trials} - set(repair.strays), repair)


def _compare(folder: Path, number: int, held: tuple[Rows | None, Rows | None], rungs: list[int], repair: Repair) -> bool:
    """Notes what is to become of one trial.

    Args:
        folder: of the search.
        number: of the trial.
        held: what the ledger and the backup hold of it.
        rungs: reports at which trials are compared.
        repair: gets it.

    Returns:
        Whether a record knows of it.
    """
    here, in_backup = held
    record = _record_of(folder, number, repair)
    if in_backup is not None and not is_head(in_backup[HEAD][0]):
        in_backup = None
    if state_of(here) in ENDED:
        if record is not None and state_of(record) in ENDED and record != here:
            repair.trials[number] = record, "its record: the ledger's rows stand otherwise"
        return record is not None
    better = _more_of(record, in_backup)
    if better is not None:
        source = "its record" if better is record else "the backup"
        if here is None or state_of(better) in ENDED or state_of(here) == WAITING or not holds(here, better):
            repair.trials[number] = _with_reports(better, [], None, rungs), source
        elif here[HEAD] != better[HEAD] and (better is record or not is_head(here[HEAD][0])):
            repair.trials[number] = {**here, HEAD: better[HEAD]}, f"{source}: the ledger's state or times stand otherwise"
    elif state_of(here) == WAITING and _is_begun(trial_folder(folder, number)):
        _take_from_checkpoint(folder, number, rungs, repair)
    elif here is None and in_backup is not None:
        repair.trials[number] = in_backup, "the backup"
    return record is not None


def _record_of(folder: Path, number: int, repair: Repair) -> Rows | None:
    try:
        return read_record(folder, number)
    except RecordError as error:
        repair.notes.append(f"{error}; it is made again from the ledger")
        return None


def _take_from_checkpoint(folder: Path, number: int, rungs: list[int], repair: Repair) -> None:
    """A trial that has a folder, but no record that can be read: its checkpoint knows its config and its reports."""
    checkpoint = newest_good(trial_folder(folder, number) / "checkpoints")
    if checkpoint is None:
        repair.lost.append(number)
        return
    try:
        state = read_json(checkpoint / "state.json")
        attributes = {"config": read_yaml(checkpoint / "config.yaml"), "assignment": {}}
        begun = new_rows(number, RUNNING, {**attributes, "lineage": {"restored_from": checkpoint.name}}, now())
        rows = _with_reports(begun, state["history"], state.get("applied"), rungs)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # a good sum says who wrote it, not what
        repair.notes.append(f"{checkpoint}: says nothing of its trial: {first_line(error)}")
        repair.lost.append(number)
        return
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


def _strays(connection: sqlite3.Connection, unknown: Iterable[int], numbers: set[int], repair: Repair) -> list[int]:
    """Of the numbers that the store alone knows those that are no trial's.

    A number that a bit has changed leaves its place empty and stands where none was asked: beyond as many places as there are
    trials, or with the rows of a trial that its record knows.
    """
    configs = {config for rows, _ in repair.trials.values() if (config := _config_of(rows))}
    return [
        number
        for number in unknown
        if number >= len(numbers) or ((rows := read_trial(connection, number)) is not None and _config_of(rows) in configs)
    ]


def _config_of(rows: Rows) -> str:
    """A trial's config as text, its seed among it: no two trials of a search have the same."""
    return next((str(row["value_json"]) for row in rows[USER] if row["key"] == "config"), "")


def _count_lost(known: set[int], repair: Repair) -> None:
    """Trials below others that nothing knows of are lost, too; folders with nothing in them that says whose they are are not."""
    last = max(known, default=-1)
    lost = {number for number in range(last + 1) if number not in known}
    for number in sorted(repair.lost):
        if number <= last + 1:
            lost.add(number)
            last = max(last, number)
    repair.lost = sorted(lost)


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
    """Trials that have a folder with something in it."""
    parent = folder / TRIALS
    named = [path for path in parent.iterdir() if path.name.isdigit() and path.is_dir()] if parent.is_dir() else []
    return [int(path.name) for path in named if path == trial_folder(folder, int(path.name)) and _is_begun(path)]


def _is_begun(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _more_of(one: Rows | None, other: Rows | None) -> Rows | None:
    """What knows more of a trial: that in which it has ended, or that with more reports.  None: neither was told of it."""
    known = [rows for rows in (one, other) if state_of(rows) != WAITING and rows is not None]
    return max(known, key=lambda rows: (state_of(rows) in ENDED, num_reports(rows)), default=None)


def num_reports(rows: Rows) -> int:
    """Reports of a trial."""
    return len(rows[SCORES])


def now() -> str:
    """As the ledger's tables have it."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S.%f}"
