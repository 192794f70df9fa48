"""Where tritune keeps what it can make again, and writing files that are whole or not there."""

import contextlib
import functools
import hashlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from filelock import FileLock, Timeout

from trainables.heartbeat import BEAT_SECONDS, beat

T = TypeVar("T")


def cache_folder() -> Path:
    """The folder for tokens, made encoders and downloaded rows; created for its owner alone (mode 0700).

    `$TRITUNE_CACHE`, else `$XDG_CACHE_HOME/tritune`, else `~/.cache/tritune`.

    Raises:
        ValueError: the folder cannot be made or written to.
    """
    named = os.environ.get("TRITUNE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(named).expanduser() if named else Path(base) / "tritune"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: the cache folder cannot be made ({error.strerror}); set TRITUNE_CACHE") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{folder}: the cache folder cannot be written to; set TRITUNE_CACHE")
    return folder.resolve()


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex; computed once a process for a file that stays as it is."""
    stat = path.stat()
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file aside, syncs it and renames it: a reader sees the old file or the new one, never half of one.

    Folders on the way are made.
    """
    with written_atomically(path) as file:
        file.write(content)


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[IO[bytes]]:
    """As `write_atomically`, for what is written piece by piece; nothing is left where the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def write_new(path: Path, content: bytes) -> None:
    """Writes a file aside, syncs it and gives it its name: a reader sees all of it or none, and no other file is written over.

    Folders on the way are made.

    Raises:
        FileExistsError: there is a file already.
        OSError: it cannot be written; there is none of it then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}")  # not mkstemp's, which others could not read
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _name_it(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _name_it(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: an empty file, which no reader takes, holds the name until ours has it
        path.touch(exist_ok=False)
        os.replace(aside, path)


def problems_of_new_file(out: Path) -> Iterator[str]:
    """Why `--out` can be no new file, in a sentence, or none; folders on the way would be made."""
    if os.path.lexists(out):
        yield f"--out {out}: there is a file already; name another one"
        return
    folder = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not folder.is_dir():
        yield f"--out {out}: {folder} must be a folder, but is a file"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield f"--out {out}: the folder {folder} cannot be written into"


def open_or_make(path: Path, open_file: Callable[[], T | None], make: Callable[[], T | None]) -> T:
    """What is in a file, which is made first where it is not there or is damaged.

    Of processes that start at once, one makes it and the others wait.

    Args:
        path: of the file; folders on the way are made.
        open_file: gives what it holds; None where it does not hold what it should.
        make: writes the file and gives what it holds.
    """
    found = open_file()
    if found is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _waited_for(FileLock(path.with_suffix(".lock"))):
            found = open_file()
            if found is None:
                found = make()
    assert found is not None, f"{path}: just written, but not readable"
    return found


@contextlib.contextmanager
def _waited_for(lock: FileLock) -> Iterator[None]:
    """Holds a lock; to wait for another process, which may work for long, is no silence."""
    while not lock.is_locked:
        beat()
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=BEAT_SECONDS)
    try:
        yield
    finally:
        lock.release()


@functools.lru_cache(maxsize=256)
def _sha256_of(path: Path, _size: int, _mtime_ns: int, _inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
