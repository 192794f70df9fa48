"""SQLite's write-ahead log, looked at from outside.

SQLite takes a log up to its first frame whose sum is wrong and says nothing of those after it: after a kill that is right, for
the last frame may be cut short.  Where the end of a transaction of the same log follows a wrong frame, it is lost, and somebody
must say so.  Frames without such an end say nothing: a transaction that was killed leaves them, and the next one, written over
its first ones, ends in the middle of them.

The format: https://www.sqlite.org/fileformat2.html#walformat
"""

import struct
from pathlib import Path

_HEADER, _FRAME_HEADER = 32, 24
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
_MASK = 0xFFFFFFFF


def problem_of_log(path: Path) -> str:
    """What is wrong with a write-ahead log, in a sentence that names it; empty: nothing that SQLite would not mend rightly."""
    content = path.read_bytes() if path.exists() else b""
    if not content:
        return ""
    if len(content) < _HEADER:
        return f"{path}: cut off within its first {_HEADER} bytes"
    magic, *_, first, second = struct.unpack(">8I", content[:_HEADER])
    order = _MAGIC.get(magic)
    if order is None or _sum(content[: _HEADER - 8], order, (0, 0)) != (first, second):
        return f"{path}: its first {_HEADER} bytes are not what their sum says"
    problem = _problem_of_frames(content, order)
    return f"{path}: {problem}" if problem else ""


def _problem_of_frames(content: bytes, order: str) -> str:
    _, _version, page_size, _sequence, *salts, first, second = struct.unpack(">8I", content[:_HEADER])
    running, size = (first, second), _FRAME_HEADER + page_size
    num_frames, rest = divmod(len(content) - _HEADER, size)
    wrong: int | None = None
    for index in range(num_frames):
        frame = content[_HEADER + index * size : _HEADER + (index + 1) * size]
        _page, commit, *own_salts, first, second = struct.unpack(">6I", frame[:_FRAME_HEADER])
        if wrong is not None:
            if own_salts == salts and commit:
                return f"frame {wrong + 1} of {num_frames} is not what its sum says, and a transaction's end follows it"
            continue
        running = _sum(frame[:8] + frame[_FRAME_HEADER:], order, running)
        if own_salts != salts or running != (first, second):
            wrong = index
    return "cut off in the middle of a frame" if rest and wrong is None else ""


def _sum(content: bytes, order: str, start: tuple[int, int]) -> tuple[int, int]:
    """SQLite's sum of a stretch of bytes, going on from another."""
    one, two = start
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & _MASK
        two = (two + odd + one) & _MASK
    return one, two
