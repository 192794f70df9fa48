"""Where a search's ledger stands: a SQLite file in its folder, or a PostgreSQL database that the folder names.

A database is named by a URL without a password (the client finds that in `~/.pgpass` or `PGPASSWORD`), and may hold many
searches: each is a study of its own, named by the search's id.  Whoever has the folder, or a copy of it, finds the ledger.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa

from trainables.plain_files import read_json
from tuner.ledger_places import CONNECT_SECONDS, LEDGER_FILE, POINTER_FILE, READY, LedgerError, parse_ledger_url, with_client
from tuner.ledger_rows import only_reading, reading_connection, strange_in
from tuner.settings import sqlite_url

_STUDY_NAME = "tritune"
_SILENCE_SECONDS = 30
"""How long a transaction in PostgreSQL may do nothing, and a connection may be without an answer, before the server ends it: a
driver that is frozen, or whose machine is gone, locks nobody out for longer."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


def create_study(folder: Path, url: str | None = None, name: str = "") -> optuna.Study:
    """A new study.

    Args:
        folder: of the search; gets the SQLite file, or the file that names the database.
        url: of the database (see `parse_ledger_url`); None: SQLite.
        name: the study's, in the database; of no meaning to SQLite.
    """
    if url is None:
        path = folder / LEDGER_FILE
        study = optuna.create_study(storage=_sqlite(path), study_name=_STUDY_NAME, direction="maximize")
        _set_up(path)
        return study
    study = optuna.create_study(storage=_postgresql(url), study_name=f"{_STUDY_NAME}-{name}", direction="maximize")
    (folder / POINTER_FILE).write_text(json.dumps({"url": url, "study": study.study_name}) + "\n", encoding="utf-8")
    return study


def open_study(folder: Path, *, writes: bool) -> optuna.Study:
    """The study of the search in `folder`.

    Args:
        folder: of the search.
        writes: open it to write; without, nothing of a file is changed, not even its log moved into it.

    Raises:
        LedgerError: none stands there.
        Exception: whatever the store raises that cannot be read.
    """
    path, pointer = folder / LEDGER_FILE, folder / POINTER_FILE
    if path.is_file():
        return study_in(path, writes=writes)
    if not pointer.is_file():
        raise LedgerError(f"{folder}: no search stands here (there is no {LEDGER_FILE})")
    named: Mapping[str, str] = read_json(pointer)
    return optuna.load_study(storage=_postgresql(parse_ledger_url(named["url"])), study_name=named["study"])


def study_in(path: Path, *, writes: bool) -> optuna.Study:
    """The study in a file, as `open_study`."""
    _look_for_study(path)
    return optuna.load_study(storage=_sqlite(path) if writes else _sqlite_to_read(path), study_name=_STUDY_NAME)


def is_cut_short(folder: Path) -> bool:
    """Whether a new ledger was made that is not in its place yet: what lies there is not to be built on."""
    return any(folder.glob(f"{READY}*"))


def engine_of(study: optuna.Study) -> sa.Engine:
    """Of the store behind Optuna's cache."""
    engine = study._storage._backend.engine  # type: ignore[attr-defined]
    assert isinstance(engine, sa.Engine)
    return engine


def fold_log(engine: sa.Engine) -> None:
    """Moves SQLite's log into the file, as far as nobody reads it; what only reads does not do that when it closes."""
    if engine.dialect.name == "sqlite":
        with contextlib.suppress(sa.exc.SQLAlchemyError), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


@contextlib.contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection to read through: in PostgreSQL all its queries see the store at one moment.

    In SQLite each query sees what is committed by then; an event is one transaction, so no query sees half of one.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")  # in place
        yield connection


def _postgresql(url: str) -> optuna.storages.RDBStorage:
    keep_alive = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
    limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 1000 * _SILENCE_SECONDS, **keep_alive}
    arguments = {"connect_args": limits, "pool_pre_ping": True, "pool_events": [(_limit_silence, "connect")]}
    return optuna.storages.RDBStorage(_unformatted(with_client(url)), engine_kwargs=arguments, skip_compatibility_check=False)


def _limit_silence(connection: Any, _record: object) -> None:
    """Has the server end what goes silent on this connection; what concerns TCP alone it passes over on a socket of its own."""
    limits = {"idle_in_transaction_session_timeout": f"{_SILENCE_SECONDS}s", "tcp_user_timeout": f"{_SILENCE_SECONDS}s"}
    limits |= {"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
    for name, value in limits.items():
        connection.execute(f"SET {name} = '{value}'")
    connection.commit()


def _sqlite(path: Path) -> optuna.storages.RDBStorage:
    url = _unformatted(sqlite_url(path.resolve()))
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}}, skip_compatibility_check=False)


def _sqlite_to_read(path: Path) -> optuna.storages.RDBStorage:
    url, connect = _unformatted(sqlite_url(path.resolve())), {"creator": partial(reading_connection, path)}
    return optuna.storages.RDBStorage(url, engine_kwargs=connect, skip_compatibility_check=False, skip_table_creation=True)


def _unformatted(url: str) -> str:
    """For Optuna, which formats the URL."""
    return url.replace("{", "{{").replace("}", "}}")


def _look_for_study(path: Path) -> None:
    """Raises where the file holds no study of ours (Optuna would first make its tables in it), or what runs when it is read."""
    with only_reading(path) as connection:
        if strange := strange_in(connection):
            raise LookupError(strange)
        if connection.execute("SELECT 1 FROM studies WHERE study_name = ?", (_STUDY_NAME,)).fetchone() is None:
            raise LookupError(f"it holds no study named {_STUDY_NAME}")


def _set_up(path: Path) -> None:
    """What Optuna leaves out, kept in the file from now on.

    SQLite's write-ahead log: readers no longer make the driver wait.  An index: of one number there is one trial, whoever writes,
    and a number that changed by itself is found by `PRAGMA integrity_check`.
    """
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE UNIQUE INDEX tritune_one_trial_a_number ON trials (study_id, number)")
