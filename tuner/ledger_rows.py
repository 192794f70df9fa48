"""A trial as the rows of the ledger's tables: read, compared and written back without knowing what they mean.

SQLite alone: this is what stands when the ledger is damaged, so that nothing here may first make tables or take a lock.
"""

import contextlib
import datetime
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.plain_files import parse_json

Rows = dict[str, list[dict[str, Any]]]
HEAD, USER, SCORES = "trials", "trial_user_attributes", "trial_intermediate_values"
_HEAD_COLUMNS = ("number", "state", "datetime_start", "datetime_complete")
_PARTS = {
    "trial_params": ("param_name", "param_value", "distribution_json"),
    "trial_values": ("objective", "value", "value_type"),
    SCORES: ("step", "intermediate_value", "intermediate_value_type"),
    USER: ("key", "value_json"),
    "trial_system_attributes": ("key", "value_json"),
}
"""Table -> its columns, but for the store's own numbers; rows are read in the order of the first."""
ENDED = frozenset({"COMPLETE", "PRUNED", "FAIL"})
RUNNING, WAITING = "RUNNING", "WAITING"
_BUSY_SECONDS = 60.0


@contextlib.contextmanager
def only_reading(file: Path) -> Iterator[sqlite3.Connection]:
    """A store that is only read: its write-ahead log is not moved into it when the connection closes."""
    with contextlib.closing(reading_connection(file)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def reading_connection(file: Path) -> sqlite3.Connection:
    """A connection that cannot write.

    SQLite makes an index beside the store, by which it reads its log.  Where we may make no file there, and there is no log, the
    store is read as a file that nobody changes.
    """
    log = file.with_name(f"{file.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    how = "mode=ro" if has_log or os.access(file.parent, os.W_OK) else "mode=ro&immutable=1"
    uri = f"{file.resolve().as_uri()}?{how}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def strange_in(connection: sqlite3.Connection) -> str:
    """What a store holds that no ledger does, and that may run something when it is read or written; empty: nothing."""
    query = "SELECT type, name FROM sqlite_schema WHERE type NOT IN ('table', 'index') OR coalesce(rootpage, 0) = 0"
    found = connection.execute(query).fetchone()
    return f"it holds a {found[0]} named {found[1]!r}, which no ledger has" if found is not None else ""


@contextlib.contextmanager
def writing(file: Path) -> Iterator[sqlite3.Connection]:
    """A store that is written to: all of it, or nothing where the block raises."""
    with contextlib.closing(sqlite3.connect(file, timeout=_BUSY_SECONDS)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA trusted_schema=OFF")
        with connection:
            yield connection


def read_ids(connection: sqlite3.Connection) -> dict[int, int]:
    """Trial -> the store's own number for it: the tables have no index by the trial's."""
    return {row["number"]: row["trial_id"] for row in connection.execute(f"SELECT number, trial_id FROM {HEAD}")}


def read_trial(connection: sqlite3.Connection, number: int, ids: Mapping[int, int] | None = None) -> Rows | None:
    """The rows of one trial, without the store's own numbers for them; None where there is no such trial.

    Args:
        connection: to the store.
        number: of the trial.
        ids: as `read_ids` gives them, where many trials are read.
    """
    key, value = ("number", number) if ids is None else ("trial_id", ids.get(number))
    head = connection.execute(f"SELECT * FROM {HEAD} WHERE {key} = ?", (value,)).fetchone()
    if head is None:
        return None
    rows: Rows = {HEAD: [_without_ids(HEAD, head)]}
    for table, columns in _PARTS.items():
        found = connection.execute(f"SELECT * FROM {table} WHERE trial_id = ? ORDER BY {columns[0]}", (head["trial_id"],))
        rows[table] = [_without_ids(table, row) for row in found]
    return rows


def read_states(connection: sqlite3.Connection) -> dict[int, str]:
    """Trial -> Optuna's state of it, by number."""
    return {row["number"]: row["state"] for row in connection.execute(f"SELECT number, state FROM {HEAD} ORDER BY number")}


def misplaced_heads(connection: sqlite3.Connection) -> Iterator[str]:
    """Trials that no ledger numbers so, a sentence each."""
    for (number,) in connection.execute(f"SELECT number FROM {HEAD} WHERE typeof(number) <> 'integer' OR number < 0"):
        yield f"it holds a trial of the number {number!r}"
    for (number,) in connection.execute(f"SELECT number FROM {HEAD} GROUP BY number HAVING count(*) > 1"):
        yield f"it holds trial {number} more than once"
    for (number,) in connection.execute(f"SELECT number FROM {HEAD} WHERE study_id NOT IN (SELECT study_id FROM studies)"):
        yield f"it holds trial {number} for another study"


def read_header(connection: sqlite3.Connection) -> dict[str, Any]:
    """What is fixed for the whole search.

    Raises:
        ValueError: an entry cannot be read.
    """
    return {row["key"]: parse_json(row["value_json"]) for row in connection.execute("SELECT * FROM study_user_attributes")}


def write_header(connection: sqlite3.Connection, key: str, value: Any) -> None:
    """Replaces one entry of the header."""
    [study_id] = connection.execute("SELECT study_id FROM studies").fetchone()
    connection.execute("DELETE FROM study_user_attributes WHERE key = ?", (key,))
    _insert(connection, "study_user_attributes", {"study_id": study_id, "key": key, "value_json": json.dumps(value)})


def write_trial(connection: sqlite3.Connection, rows: Rows) -> None:
    """Puts a trial into a store in place of what stands there under its number."""
    [study_id] = connection.execute("SELECT study_id FROM studies").fetchone()
    head = {**rows[HEAD][0], "study_id": study_id}
    remove_trial(connection, head["number"])
    trial_id = _insert(connection, HEAD, head)
    for table in _PARTS:
        for row in rows[table]:
            _insert(connection, table, {**row, "trial_id": trial_id})


def remove_trial(connection: sqlite3.Connection, number: int) -> None:
    """Removes whatever stands in a store under a number."""
    for (trial_id,) in connection.execute(f"SELECT trial_id FROM {HEAD} WHERE number = ?", (number,)).fetchall():
        for table in (*_PARTS, HEAD):
            connection.execute(f"DELETE FROM {table} WHERE trial_id = ?", (trial_id,))


def new_rows(number: int, state: str, attributes: Mapping[str, Any], started: str, ended: str | None = None) -> Rows:
    """A trial of which only attributes are known.

    Args:
        number: of the trial.
        state: Optuna's name of it.
        attributes: key -> plain value.
        started: as the table has it: of UTC, without a zone.
        ended: likewise; None: it has not.
    """
    rows: Rows = {table: [] for table in _PARTS}
    rows[HEAD] = [{"number": number, "state": state, "datetime_start": started, "datetime_complete": ended}]
    rows[USER] = [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
    return rows


def check_rows(values: Any) -> Rows:
    """Looks whether plain values are the rows of one trial, before names in them become part of a query.

    Raises:
        ValueError: they are not; names the table and the rule.
    """
    if not isinstance(values, dict) or set(values) != {HEAD, *_PARTS}:
        raise ValueError(f"the tables {', '.join((HEAD, *_PARTS))} must stand here")
    for table, columns in {HEAD: _HEAD_COLUMNS, **_PARTS}.items():
        rows = values[table]
        if not isinstance(rows, list) or not all(isinstance(row, dict) and set(row) == set(columns) for row in rows):
            raise ValueError(f"{table}: rows of {', '.join(columns)} must stand here")
        if not all(isinstance(value, (str, int, float, type(None))) for row in rows for value in row.values()):
            raise ValueError(f"{table}: numbers and texts alone may stand here")
    if len(values[HEAD]) != 1 or not is_head(values[HEAD][0]):
        raise ValueError(f"{HEAD}: one row with a number, a state of Optuna's and times must stand here")
    return values


def is_head(head: Mapping[str, Any]) -> bool:
    """Whether a trial's number, state and times are some that a trial can have."""
    times = (head["datetime_start"], head["datetime_complete"])
    is_numbered = type(head["number"]) is int and head["number"] >= 0
    return is_numbered and head["state"] in {RUNNING, WAITING, *ENDED} and all(time is None or _is_time(time) for time in times)


def _is_time(text: Any) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return False
    return True


def holds(rows: Rows, part: Rows) -> bool:
    """Whether all that stands in `part` stands in `rows`, too, but for the trial's state and times."""
    return all(row in rows[table] for table in _PARTS for row in part[table])


def state_of(rows: Rows | None) -> str:
    """Optuna's state of a trial; `WAITING`, which nobody was told of, where there is none."""
    return str(rows[HEAD][0]["state"]) if rows else WAITING


def attributes_of(rows: Rows) -> dict[str, Any]:
    """The trial's attributes.

    Raises:
        ValueError: one cannot be read.
    """
    return {row["key"]: parse_json(row["value_json"]) for row in rows[USER]}


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> int:
    marks = ", ".join("?" * len(row))
    done = connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    assert done.lastrowid is not None
    return done.lastrowid


def _without_ids(table: str, row: sqlite3.Row) -> dict[str, Any]:
    own = {f"{table.removesuffix('s')}_id", "param_id", "trial_id", "study_id"}
    return {key: row[key] for key in row.keys() if key not in own}  # noqa: SIM118 - a row iterates values
