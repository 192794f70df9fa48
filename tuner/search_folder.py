"""The folder of one search: what lies where, and the lock that keeps a second driver out."""

import contextlib
import datetime
import json
import os
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from filelock import FileLock, Timeout

from trainables import teacher_files
from trainables.parts import ConfigError
from tuner.ledger_places import LOCK_FILE, POINTER_FILE, LedgerError, has_study
from tuner.processes import is_locked

RUNS = Path("runs")
SETTINGS_FILE = "settings.yaml"
REPORT_FILE = "report.html"
TRIALS = "trials"
BEST = teacher_files.BEST
_EXPORT = "export-"
_LOCK_SECONDS = 1.0


def default_folder(space: str, today: datetime.date) -> Path:
    """`runs/2026-11-21-leaderboard`, or with `-2`, `-3`, ... where that is taken."""
    stem = f"{today.isoformat()}-{Path(space).stem if Path(space).suffix in {'.yaml', '.yml'} else space}"
    names = [stem, *(f"{stem}-{n}" for n in range(2, 10_000))]
    return next(RUNS / name for name in names if not (RUNS / name).exists())


def resume_command(folder: Path, *, joins: bool = False) -> str:
    """What a person types to go on with a search; `joins`: on the Ray cluster that runs by then."""
    return f"python -m tuner.search --resume {quote(str(folder))}{' --address auto' if joins else ''}"


@contextlib.contextmanager
def claimed(name: str, today: datetime.date) -> Iterator[Path]:
    """A new, empty `default_folder` that no other process gets; gone again where what is to fill it fails."""
    while True:
        folder = default_folder(name, today)
        with contextlib.suppress(FileExistsError):  # another process was quicker
            folder.mkdir(parents=True)
            break
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def check_new(folder: Path) -> list[str]:
    """Why no new search may begin in `folder`; empty where it may."""
    if has_study(folder):
        return [f"--out: {folder} is another search; give another folder, or go on with it: --resume {quote(str(folder))}"]
    if folder.exists() and not folder.is_dir():
        return [f"--out: {folder} is a file; a folder that is new or empty must be given"]
    if folder.is_dir() and any(path.name != LOCK_FILE for path in folder.iterdir()):  # the lock stays where a start was cut short
        return [f"--out: {folder} is not empty and no search; a folder that is new or empty must be given"]
    return []


def check_links(folder: Path) -> None:
    """Looks for links in the folder of a search that somebody else may have made.

    We make none there.  One of theirs would have other files read, sent to MLflow, or removed with a trial's checkpoints.

    Raises:
        ConfigError: names each link.
    """
    found = (Path(parent, name) for parent, folders, files in os.walk(folder) for name in (*folders, *files))
    links = sorted(path for path in found if path.is_symlink())
    if links:
        raise ConfigError(
            f"{link}: a link; a search's folder holds its own files alone, put there what it is of" for link in links
        )


def trial_folder(folder: Path, number: int) -> Path:
    """Where one trial keeps its log and its checkpoints."""
    return folder / TRIALS / f"{number:04d}"


def export_folder(folder: Path, number: int | None) -> Path:
    """Where the model of a trial is exported to, if nowhere else; None: that of the best."""
    return folder / (BEST if number is None else f"{_EXPORT}{number:04d}")


def exports(folder: Path) -> dict[Path, int | None]:
    """What may have been exported there: folder -> the trial that was asked for; None: the best."""
    named = sorted(folder.glob(f"{_EXPORT}*"))
    asked = {path: int(number) for path in named if (number := path.name.removeprefix(_EXPORT)).isdecimal()}
    return {export_folder(folder, None): None, **asked}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the search for this process; the lock goes with the process, however that ends.

    Raises:
        ConfigError: another driver is at work here.
    """
    lock = FileLock(folder / LOCK_FILE, timeout=_LOCK_SECONDS, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError([f"{folder}: another driver is at work on this search; wait for it, or stop it"]) from None
    try:
        yield
    finally:
        lock.release()


def is_live(folder: Path) -> bool:
    """Whether a driver is at work on the search in `folder`, here or, where a database holds the ledger, elsewhere."""
    if (folder / POINTER_FILE).exists():
        from tuner.ledger import Ledger  # Optuna: most that ask for a folder's files open no ledger

        with contextlib.suppress(LedgerError):
            if Ledger.read(folder).holder is not None:
                return True
    return is_locked(folder / LOCK_FILE)


def write_json(path: Path, value: object) -> None:
    """Writes plain values as JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
