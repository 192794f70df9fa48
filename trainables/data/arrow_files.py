"""Arrow IPC files in the cache: made once a machine, mapped into memory by every trial, and found out where they are damaged."""

import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import pyarrow as pa

from trainables.files import written_atomically

T = TypeVar("T")


def write_arrow(path: Path, schema: pa.Schema, batches: Sequence[pa.RecordBatch], about: Mapping[str, Any]) -> None:
    """Writes batches of columns, and with them `about`, plain values: an Arrow IPC stream, then the CRC of its bytes.

    Other readers of Arrow streams stop where the stream ends, so the file is one to them as well.
    """
    with written_atomically(path) as file:
        summed = _Summed(file)
        with pa.ipc.new_stream(summed, schema.with_metadata({"about": json.dumps(about)})) as writer:
            for batch in batches:
                writer.write_batch(batch)
        file.write(_packed(summed.crc))


def map_arrow(path: Path, schema: pa.Schema, read: Callable[[pa.RecordBatch], T]) -> tuple[dict[str, Any], list[T]] | None:
    """`about` and what `read` makes of each batch of a file that is mapped into memory.

    None where there is no file, where a byte of it is not what was written, or where its columns are others.  All of it
    is read for that, once: Arrow trusts the lengths that it finds, and one flipped bit in them is a segmentation fault.
    """
    try:
        with pa.memory_map(str(path)) as source:
            content = source.read_buffer()
    except OSError:
        return None
    stream = content.slice(0, max(content.size - _CRC_BYTES, 0))
    if not stream.size or content.slice(stream.size).to_pybytes() != _packed(zlib.crc32(stream)):
        return None
    with pa.ipc.open_stream(stream) as reader:
        if not reader.schema.equals(schema):
            return None
        return json.loads(reader.schema.metadata[b"about"]), [read(batch) for batch in reader]


_CRC_BYTES = 4


def _packed(crc: int) -> bytes:
    return crc.to_bytes(_CRC_BYTES, "little")


class _Summed(io.RawIOBase):
    """A file to write to, and the CRC of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.crc = 0
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.crc = zlib.crc32(content, self.crc)
        return self._file.write(content)
