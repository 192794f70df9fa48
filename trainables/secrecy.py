"""What nobody else is to read: the files that a command makes, and passwords put where they would be written down."""

import os
import re

_CREDENTIALS = re.compile(
    r":/+[^/\s]*:[^/\s]*@|[?&;](?!ssl_?key=(/|%2F))\w*(password|passwd|pwd|token|secret|credential|key)\w*=|\bhf_\w{16}",
    re.IGNORECASE,
)
"""`scheme://user:password@host`, `?token=...`, a token of the Hugging Face hub; not `sslkey=/PATH`, which names a file."""


def keep_files_private() -> None:
    """From here on what this process and those that it starts make is its owner's alone: files 0600, folders 0700.

    Commands call it first of all, so that no place where something is made has to think of it.
    """
    os.umask(0o077)


def holds_credentials(text: str) -> bool:
    """Whether a password, a token or a key stands in an address."""
    return _CREDENTIALS.search(text) is not None


def refuse_credentials(text: str) -> str:
    """The text, which will be written into ledgers, logs, MLflow and exports.

    Raises:
        ValueError: a password, a token or a key stands in it; the message does not repeat it.
    """
    if holds_credentials(text):
        raise ValueError("credentials must not stand in it, for it is written down; set them in the environment instead")
    return text
