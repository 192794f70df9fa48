import hashlib
import os
import stat
from pathlib import Path

import pytest

from trainables.files import cache_folder, sha256_of, write_atomically


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
