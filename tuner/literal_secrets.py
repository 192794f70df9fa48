"""Secrets that stand in a file as they are: keys, tokens, passwords.  They are named by their kind, and never repeated."""

import re

_KINDS = {
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY"),
    "an access token": re.compile(
        r"\b(gh[pousr]_\w{30,}|github_pat_\w{30,}|hf_[A-Za-z0-9]{30,}|xox[abprs]-[\w-]{10,}|glpat-[\w-]{20,})"
    ),
    "a token of 32 bytes": re.compile(r"(?<!sha256:)\b[0-9a-fA-F]{64}\b"),
    "an address with a password in it": re.compile(r"\w://[^\s/:@]*:(?!\$)[^\s/@]+@"),
}
_SECRET_NAME = re.compile(r"password|passwd|\bpwd\b|passphrase|secret|token|credential|(api|access|secret)_?key", re.IGNORECASE)
_VALUE = r"""(\"[^\"]*\"|'[^']*'|[^\s;&|"']+)"""
_ASSIGNED = (
    re.compile(r"(?<![\w-])-{0,2}([A-Za-z][\w-]*)\s*[=:]\s*" + _VALUE),
    re.compile(r"(?<!\S)--?([A-Za-z][\w-]*)\s+" + _VALUE),
)
"""`name=value` and `name: value`; `--name value`."""
_ELSEWHERE = re.compile(r"""["']?(\$|~|\.{0,2}/|file:|<)""")
"""A value that is no secret itself, but says where one is: a variable, a path, a redirection."""
_NO_SECRETS = {"HttpTokens"}
"""Keys that sound like a secret and are none: how AWS serves an instance's metadata."""


def secrets_in(text: str) -> list[str]:
    """The kinds of secrets in a text, such as a command: `a private key`, `a value for DB_PASSWORD`."""
    kinds = [kind for kind, pattern in _KINDS.items() if pattern.search(text)]
    given = [match.groups() for pattern in _ASSIGNED for match in pattern.finditer(text)]
    return [*kinds, *(f"a value for {name}" for name in dict.fromkeys(name for name, value in given if is_secret(name, value)))]


def is_secret(name: str, value: str) -> bool:
    """Whether a value is one that nobody else should read, by the name of what it is given to."""
    is_named_so = bool(_SECRET_NAME.search(name)) and name not in _NO_SECRETS
    return is_named_so and bool(value.strip("\"'")) and not _ELSEWHERE.match(value)
