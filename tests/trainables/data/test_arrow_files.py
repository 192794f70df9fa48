import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trainables.data.arrow_files import checksum, map_arrow, open_or_make, write_arrow

SCHEMA = pa.schema([("number", pa.int32())])
NUMBERS = np.arange(5, dtype=np.int32)


def numbers(batch: pa.RecordBatch) -> np.ndarray:
    return batch.column("number").to_numpy()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_arrow(tmp_path / "file.arrow", SCHEMA, [pa.record_batch([pa.array(NUMBERS)], schema=SCHEMA)] * 2, {"key": "é"})
    return tmp_path / "file.arrow"


def test_what_is_written_is_mapped(path: Path) -> None:
    about, columns = map_arrow(path, SCHEMA, numbers) or ({}, [])
    assert about == {"key": "é"}
    assert [column.tolist() for column in columns] == [NUMBERS.tolist()] * 2
    assert not any(column.flags.writeable or column.flags.owndata for column in columns)


def test_what_was_not_written_so_is_not_opened(path: Path, tmp_path: Path) -> None:
    assert map_arrow(tmp_path / "nothing", SCHEMA, numbers) is None
    assert map_arrow(path, pa.schema([("number", pa.int64())]), numbers) is None
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], content.replace(b'{"key": ', b'{"kez": ')):
        assert damaged != content
        (tmp_path / "damaged").write_bytes(damaged)
        assert map_arrow(tmp_path / "damaged", SCHEMA, numbers) is None


def test_a_checksum_is_that_of_the_bytes_end_to_end() -> None:
    assert checksum([NUMBERS[:2], None, NUMBERS[2:]]) == checksum([NUMBERS])
    assert checksum([NUMBERS[::-1].copy()]) != checksum([NUMBERS])
    assert checksum([]) == checksum([np.empty(0, dtype=np.float32)]) == 0


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
