"""A full disk is nobody's fault but has to be told from all that is: the trial may go on once there is room."""

import errno
from collections.abc import Iterator

_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
_WORDS = ("no space left on device", "disk quota exceeded", "database or disk is full", "os error 28")
"""As the C library, SQLite and Rust's safetensors say it; libraries wrap it in errors of their own, or only quote it."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came of, says that a disk or a quota is full."""
    return any(
        (isinstance(inner, OSError) and inner.errno in _ERRNOS) or any(words in str(inner).lower() for words in _WORDS)
        for inner in came_of(error)
    )


def came_of(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came of."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        yield inner
        inner = inner.__cause__ or inner.__context__
