from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trainables.data.arrow_files import map_arrow, write_arrow

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


def test_other_columns_are_not_opened(path: Path, tmp_path: Path) -> None:
    assert map_arrow(tmp_path / "nothing", SCHEMA, numbers) is None
    assert map_arrow(tmp_path, SCHEMA, numbers) is None
    assert map_arrow(path, pa.schema([("number", pa.int64())]), numbers) is None


def test_others_read_it_as_a_stream(path: Path) -> None:
    with pa.ipc.open_stream(path) as reader:
        assert reader.read_all().column("number").to_pylist() == NUMBERS.tolist() * 2


def damages(content: bytes) -> Iterator[bytes]:
    """A file as a full disk, a kill or a bad sector may leave it: each length, and each of its bytes changed."""
    for length in range(len(content)):
        yield content[:length]
    for place in range(len(content)):
        for mask in (0x01, 0x55, 0x80, 0xFF):
            yield content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]
    yield content + b"\0"
    yield bytes(len(content))
    yield bytes(4)  # the CRC of nothing


def test_no_damaged_file_is_opened_nor_ends_the_process(path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    for content in damages(path.read_bytes()):
        damaged.unlink(missing_ok=True)  # not written over: it may still be mapped
        damaged.write_bytes(content)
        assert map_arrow(damaged, SCHEMA, numbers) is None
