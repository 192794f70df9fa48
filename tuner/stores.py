"""Where a search's ledger stands: a SQLite file in its folder, or a PostgreSQL database that the folder names.

A database is named by a URL without a password (the client finds that in `~/.pgpass` or `PGPASSWORD`), and may hold many
searches: each is a study of its own, named by the search's id.  Whoever has the folder, or a copy of it, finds the ledger.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import optuna
import sqlalchemy as sa

from trainables.plain_files import read_json
from tuner.ledger_places import CONNECT_SECONDS, LEDGER_FILE, POINTER_FILE, LedgerError, parse_ledger_url, with_client
from tuner.settings import sqlite_url

_STUDY_NAME = "tritune"

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
        _write_ahead(path)
        return study
    study = optuna.create_study(storage=_postgresql(url), study_name=f"{_STUDY_NAME}-{name}", direction="maximize")
    (folder / POINTER_FILE).write_text(json.dumps({"url": url, "study": study.study_name}) + "\n", encoding="utf-8")
    return study


def open_study(folder: Path) -> optuna.Study:
    """The study of the search in `folder`.

    Raises:
        LedgerError: none stands there.
        Exception: whatever the store raises that cannot be read.
    """
    path, pointer = folder / LEDGER_FILE, folder / POINTER_FILE
    if path.is_file():
        _look_for_study(path)
        return optuna.load_study(storage=_sqlite(path), study_name=_STUDY_NAME)
    if not pointer.is_file():
        raise LedgerError(f"{folder}: no search stands here (there is no {LEDGER_FILE})")
    named: Mapping[str, str] = read_json(pointer)
    return optuna.load_study(storage=_postgresql(parse_ledger_url(named["url"])), study_name=named["study"])


def engine_of(study: optuna.Study) -> sa.Engine:
    """Of the store behind Optuna's cache."""
    engine = study._storage._backend.engine  # type: ignore[attr-defined]
    assert isinstance(engine, sa.Engine)
    return engine


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
    arguments = {"connect_args": {"connect_timeout": CONNECT_SECONDS}, "pool_pre_ping": True}
    return optuna.storages.RDBStorage(_unformatted(with_client(url)), engine_kwargs=arguments, skip_compatibility_check=False)


def _sqlite(path: Path) -> optuna.storages.RDBStorage:
    url = _unformatted(sqlite_url(path.resolve()))
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}}, skip_compatibility_check=False)


def _unformatted(url: str) -> str:
    """For Optuna, which formats the URL."""
    return url.replace("{", "{{").replace("}", "}}")


def _look_for_study(path: Path) -> None:
    """Raises where the file holds no study of ours (Optuna would first make its tables in it), or what runs when it is read."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA trusted_schema=OFF")
        strange = connection.execute("SELECT type, name FROM sqlite_schema WHERE type NOT IN ('table', 'index')").fetchone()
        if strange is not None:
            raise LookupError(f"it holds a {strange[0]} named {strange[1]!r}, which no ledger has")
        if connection.execute("SELECT 1 FROM studies WHERE study_name = ?", (_STUDY_NAME,)).fetchone() is None:
            raise LookupError(f"it holds no study named {_STUDY_NAME}")


def _write_ahead(path: Path) -> None:
    """SQLite's write-ahead log, kept in the file from now on: readers no longer make the driver wait."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
