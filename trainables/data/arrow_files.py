"""Arrow IPC files in the cache: made once a machine, mapped into memory by every trial, and found out where they are damaged."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from filelock import FileLock

from trainables.files import write_atomically

T = TypeVar("T")


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
        with FileLock(path.with_suffix(".lock")):
            found = open_file()
            if found is None:
                found = make()
    assert found is not None, f"{path}: just written, but not readable"
    return found


def write_arrow(path: Path, schema: pa.Schema, batches: Sequence[pa.RecordBatch], about: Mapping[str, Any]) -> None:
    """Writes batches of columns, and beside them `about`, plain values, with its own checksum."""
    text = json.dumps(about).encode()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema.with_metadata({"about": text, "crc": str(zlib.crc32(text))})) as writer:
        for batch in batches:
            writer.write_batch(batch)
    write_atomically(path, bytes(sink.getvalue()))


def map_arrow(path: Path, schema: pa.Schema, read: Callable[[pa.RecordBatch], T]) -> tuple[dict[str, Any], list[T]] | None:
    """`about` and what `read` makes of each batch of a file that is mapped into memory.

    None where there is no file, or where layout or `about` are not what was written; columns are not looked at (`checksum`).
    """
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            about = _about(reader.schema, schema)
            return None if about is None else (about, [read(reader.get_batch(i)) for i in range(reader.num_record_batches)])
    except (OSError, pa.ArrowException):
        return None


def _about(found: pa.Schema, expected: pa.Schema) -> dict[str, Any] | None:
    metadata = found.metadata or {}
    text = metadata.get(b"about", b"")
    if not found.equals(expected) or metadata.get(b"crc") != str(zlib.crc32(text)).encode():
        return None
    about: dict[str, Any] = json.loads(text)
    return about


def checksum(buffers: Sequence[Any]) -> int:
    """The CRC of buffers end to end, those that are None left out: a torn or flipped file does not pass for a whole one."""
    crc = 0
    for buffer in buffers:
        if buffer is not None:
            crc = zlib.crc32(buffer, crc)
    return crc
