import os
import resource
import signal
from pathlib import Path

import pytest

from trainables.data.cs224n import read_file
from trainables.outside.rows_file import write_rows
from trainables.tasks import SST

TEXTS = [f"a film, number {number}" for number in range(200)]
LABELS = [number % 5 for number in range(200)]


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    write_rows(path, SST, TEXTS, LABELS)
    read = read_file(path, SST, labelled=True)
    assert (read.problems, read.left_out) == ([], [])
    assert (read.sentences, read.labels) == ((TEXTS,), LABELS)
    assert len(set(read.ids)) == len(TEXTS)
    assert [file.name for file in path.parent.iterdir()] == ["rows.csv"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.fixture
def full_disk() -> object:
    """No file may grow beyond 2000 bytes."""
    kept, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, kept[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_no_half_of_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large"):
        write_rows(tmp_path / "rows.csv", SST, TEXTS, LABELS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_links", [True, False])
def test_no_file_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", no_link)
    path = tmp_path / "rows.csv"
    write_rows(path, SST, TEXTS[:2], LABELS[:2])
    kept = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_rows(path, SST, TEXTS, LABELS)
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]
