"""A full disk is nobody's fault but has to be told from all that is: the trial may go on once there is room."""

import errno

_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
_WORDS = ("no space left on device", "disk quota exceeded", "database or disk is full", "os error 28")
"""As the C library, SQLite and Rust's safetensors say it; libraries wrap it in errors of their own, or only quote it."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came of, says that a disk or a quota is full."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        if isinstance(inner, OSError) and inner.errno in _ERRNOS:
            return True
        if any(words in str(inner).lower() for words in _WORDS):
            return True
        inner = inner.__cause__ or inner.__context__
    return False
