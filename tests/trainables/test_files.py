import hashlib
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from trainables.files import cache_folder, open_or_make, sha256_of, write_atomically


def test_the_cache_folder_is_where_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRITUNE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / "home" / ".cache" / "tritune"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "tritune"
    monkeypatch.setenv("TRITUNE_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRITUNE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ValueError, match=r"file/cache: the cache folder cannot be made.*TRITUNE_CACHE"):
        cache_folder()


def test_a_sum_follows_the_file(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"two", b"three"):
        write_atomically(path, content)
        assert sha256_of(path) == sha256_of(path) == hashlib.sha256(content).hexdigest()


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "file"
    write_atomically(path, b"old")
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, lambda *_: (_ for _ in ()).throw(OSError("no space left on device")))
            with pytest.raises(OSError, match="no space left"):
                write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(Path(path.parent).iterdir()) == [path]


def test_threads_that_start_at_once_make_it_once(tmp_path: Path) -> None:
    path, made, found = tmp_path / "new" / "file", [], []
    start = threading.Barrier(3)

    def read() -> str | None:
        return path.read_text() if path.exists() else None

    def make() -> str | None:
        made.append(1)
        time.sleep(0.1)  # longer than the others need to reach the lock
        path.write_text("whole")
        return read()

    def work() -> None:
        start.wait()
        found.append(open_or_make(path, read, make))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), found) == (1, ["whole"] * 3)
