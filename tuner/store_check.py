"""Whether a ledger, or a copy of it, is whole as a file: looked at before anybody builds on it."""

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuner.ledger import first_line
from tuner.ledger_places import BACKUP_FILE, RECORD_FILE
from tuner.ledger_rows import misplaced_heads, only_reading, read_header, read_states, strange_in
from tuner.ledger_values import check_header
from tuner.seals import SEALS, broken_seals
from tuner.search_folder import TRIALS

_NEEDED = ("settings", "space", "base", "data_hashes")
_MAX_SHOWN = 3


def problems_of_store(path: Path, told_as: Path | None = None) -> list[str]:
    """What is wrong with a ledger or a backup as a file, a sentence each; empty: it is whole.

    Args:
        path: of the file.
        told_as: what the sentences name in its place.
    """
    return [f"{told_as or path}: {problem}" for problem in _problems(path)]


def _problems(path: Path) -> list[str]:
    if not path.exists():
        return ["missing"]
    if path.stat().st_size == 0:
        return ["empty"]
    try:
        with only_reading(path) as connection:
            return list(_problems_of_file(connection)) or list(_problems_of_content(connection, path.parent))
    except (sqlite3.Error, ValueError, OSError) as error:
        return [f"cannot be read: {first_line(error)}"]


def _problems_of_file(connection: sqlite3.Connection) -> Iterator[str]:
    """Of the file itself; what runs when it is read is looked for first."""
    if strange := strange_in(connection):
        yield strange
        return
    found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_MAX_SHOWN})")]
    for row in found:
        yield from row.splitlines()[:_MAX_SHOWN] if row != "ok" else []


def _problems_of_content(connection: sqlite3.Connection, folder: Path) -> Iterator[str]:
    header = read_header(connection)
    missing = [key for key in _NEEDED if key not in header]
    if SEALS not in header and read_states(connection) and _is_sealed(folder):
        missing.append(SEALS)
    if missing:
        yield f"its header lacks {', '.join(missing)}"
        return
    check_header(header)
    yield from (_broken(header, key) for key in broken_seals(header))
    yield from misplaced_heads(connection)


def _broken(header: Mapping[str, Any], key: str) -> str:
    return f"its header's {key} is not what its sum says" if key in header else f"its header lacks {key}"


def _is_sealed(folder: Path) -> bool:
    """Whether the search in a folder is from since there are seals: then there is a backup, or a record, too."""
    return (folder / BACKUP_FILE).exists() or next(folder.glob(f"{TRIALS}/*/{RECORD_FILE}"), None) is not None
