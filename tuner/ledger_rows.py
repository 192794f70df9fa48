"""A trial as the rows of the ledger's tables: read, compared and written back without knowing what they mean.

SQLite alone: this is what stands when the ledger is damaged, so that nothing here may first make tables or take a lock.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Rows = dict[str, list[dict[str, Any]]]
HEAD, USER, SCORES = "trials", "trial_user_attributes", "trial_intermediate_values"
_PARTS = {
    "trial_params": "param_name",
    "trial_values": "objective",
    SCORES: "step",
    USER: "key",
    "trial_system_attributes": "key",
}
"""Table -> the column in whose order its rows are read."""
ENDED = frozenset({"COMPLETE", "PRUNED", "FAIL"})
WAITING = "WAITING"
_BUSY_SECONDS = 60.0


@contextlib.contextmanager
def only_reading(file: Path) -> Iterator[sqlite3.Connection]:
    """A store that is only read: its write-ahead log is not moved into it when the connection closes."""
    uri = f"{file.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


@contextlib.contextmanager
def writing(file: Path) -> Iterator[sqlite3.Connection]:
    """A store that is written to: all of it, or nothing where the block raises."""
    with contextlib.closing(sqlite3.connect(file, timeout=_BUSY_SECONDS)) as connection:
        connection.row_factory = sqlite3.Row
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
    for table, column in _PARTS.items():
        found = connection.execute(f"SELECT * FROM {table} WHERE trial_id = ? ORDER BY {column}", (head["trial_id"],))
        rows[table] = [_without_ids(table, row) for row in found]
    return rows


def read_states(connection: sqlite3.Connection) -> dict[int, str]:
    """Trial -> Optuna's state of it, by number."""
    return {row["number"]: row["state"] for row in connection.execute(f"SELECT number, state FROM {HEAD} ORDER BY number")}


def read_header(connection: sqlite3.Connection) -> dict[str, Any]:
    """What is fixed for the whole search.

    Raises:
        ValueError: an entry cannot be read.
    """
    return {row["key"]: json.loads(row["value_json"]) for row in connection.execute("SELECT * FROM study_user_attributes")}


def write_header(connection: sqlite3.Connection, key: str, value: Any) -> None:
    """Replaces one entry of the header."""
    [study_id] = connection.execute("SELECT study_id FROM studies").fetchone()
    connection.execute("DELETE FROM study_user_attributes WHERE key = ?", (key,))
    _insert(connection, "study_user_attributes", {"study_id": study_id, "key": key, "value_json": json.dumps(value)})


def write_trial(connection: sqlite3.Connection, rows: Rows) -> None:
    """Puts a trial into a store in place of what stands there under its number."""
    [study_id] = connection.execute("SELECT study_id FROM studies").fetchone()
    head = {**rows[HEAD][0], "study_id": study_id}
    for (trial_id,) in connection.execute(f"SELECT trial_id FROM {HEAD} WHERE number = ?", (head["number"],)).fetchall():
        for table in _PARTS:
            connection.execute(f"DELETE FROM {table} WHERE trial_id = ?", (trial_id,))
        connection.execute(f"DELETE FROM {HEAD} WHERE trial_id = ?", (trial_id,))
    trial_id = _insert(connection, HEAD, head)
    for table in _PARTS:
        for row in rows[table]:
            _insert(connection, table, {**row, "trial_id": trial_id})


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
    return {row["key"]: json.loads(row["value_json"]) for row in rows[USER]}


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> int:
    marks = ", ".join("?" * len(row))
    done = connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    assert done.lastrowid is not None
    return done.lastrowid


def _without_ids(table: str, row: sqlite3.Row) -> dict[str, Any]:
    own = {f"{table.removesuffix('s')}_id", "param_id", "trial_id", "study_id"}
    return {key: row[key] for key in row.keys() if key not in own}  # noqa: SIM118 - a row iterates values
