"""Folders that are handed over: whole or not there, and never in place of what is not ours."""

import contextlib
import hashlib
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from filelock import FileLock

from trainables.files import cache_folder
from trainables.plain_files import read_json
from trainables.stored_trial import METRICS


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Gives a path beside `folder`, where nothing is yet, to write it at; it takes the place of `folder` if all goes well.

    At each moment one of them is whole.  What a killed writer had moved away is put back, what it left half written is removed;
    so is what was written, where it goes wrong.  Writers of the same folder wait for each other.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    with _locked(folder):
        if old.exists() and not folder.exists():
            old.rename(folder)
        for leftover in (aside, old):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            yield aside
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _locked(folder: Path) -> FileLock:
    """A lock of one folder's writers, that leaves no file where they write."""
    locks = cache_folder() / "locks"
    locks.mkdir(exist_ok=True)
    return FileLock(locks / f"{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()}.lock", mode=0o600)


def problems_of_out(out: Path, what: str, *, needed: Collection[str], known: Collection[str]) -> list[str]:
    """Why nothing may be written at `out`: a sentence, or none where it is new, empty, or holds an older one of the same kind.

    Args:
        out: the folder asked for.
        what: is to be written, with its article.
        needed: files that an older one holds.
        known: all names that may lie in an older one: what else is there is somebody's own.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        return [f"--out: {out} is {'a link' if out.is_symlink() else 'a file'}; a folder that is new or empty must be given"]
    there = {path.name for path in out.iterdir()} if out.exists() else set()
    strange = sorted(there - set(known), key=lambda name: (name.startswith("."), name))  # hidden ones would say less
    missing = sorted(set(needed) - there)
    if not there or not (strange or missing):
        return []
    why = f"it holds {strange[0]}" if strange else f"it has no {missing[0]}"
    return [f"--out: {out} is not empty and not {what} ({why}); a folder that is new or empty must be given"]


def exported_trial(best: Path) -> tuple[int, float] | None:
    """Number and score of the trial whose model lies in the folder of an export; None where none does."""
    try:
        metrics = read_json(best / METRICS)
        return int(metrics["trial"]), float(metrics["best_report"]["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
