"""Where ledgers stand, as names and addresses: what a command line needs to know before any store is opened."""

import importlib.util
import re
from pathlib import Path

from trainables.parts import ConfigError
from trainables.secrecy import holds_credentials
from tuner.settings import PASSWORD_IN_URL

LEDGER_FILE = "study.db"
BACKUP_FILE = "study.backup.db"
RECORD_FILE = "record.json"
LOCK_FILE = ".lock"
WAL_FILE = f"{LEDGER_FILE}-wal"
READY = ".study.db.ready-"
"""Begins the name of a restored ledger that is only to be put in its place (see `tuner/restoration.py`)."""
POINTER_FILE = "ledger.json"
CONNECT_SECONDS = 10
_POSTGRESQL = re.compile(r"postgresql://\S+")


class LedgerError(ValueError):
    """The folder or the store holds no search that can be read; the message says what is there instead."""


def has_study(folder: Path) -> bool:
    """Whether a search stands in `folder`, as far as its files tell."""
    return any((folder / name).exists() for name in (LEDGER_FILE, POINTER_FILE))


def parse_ledger_url(text: str) -> str:
    """The URL of a database for ledgers, `postgresql://[USER@]HOST[:PORT]/DATABASE`.

    Raises:
        ConfigError: another kind of address, or one with a password in it: it is written into files and shown.
    """
    if PASSWORD_IN_URL.search(text.partition("://")[2] or text) or holds_credentials(text):
        raise ConfigError(["--ledger: a password must not stand in it; put it into ~/.pgpass, or PGPASSWORD"])
    if not _POSTGRESQL.fullmatch(text):
        raise ConfigError([f"--ledger: postgresql://[USER@]HOST[:PORT]/DATABASE must be given, but got {text!r}"])
    return text


def check_ledger_url(text: str) -> str:
    """The same, of a database that answers.

    Raises:
        ConfigError: as `parse_ledger_url`; the client library is not installed; the database does not answer, or lets us not in.
    """
    url = parse_ledger_url(text)
    if importlib.util.find_spec("psycopg") is None:
        raise ConfigError(["--ledger: PostgreSQL needs its client: pip install 'tritune[postgresql]'"])
    import sqlalchemy as sa  # most command lines name no database

    engine = sa.create_engine(with_client(url), connect_args={"connect_timeout": CONNECT_SECONDS}, poolclass=sa.NullPool)
    try:
        with engine.connect():
            return url
    except sa.exc.SQLAlchemyError as error:
        why = " ".join(str(getattr(error, "orig", error)).split())[:300]
        raise ConfigError([f"--ledger: {url} cannot be used: {why}"]) from None


def with_client(url: str) -> str:
    """The URL as SQLAlchemy wants it, with the client library's name."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)
