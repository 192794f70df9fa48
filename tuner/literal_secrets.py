"""Secrets that stand in a file as they are: keys, tokens, passwords.  They are named by their kind, and never repeated."""

import re

_KINDS = {
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY"),
    "an access token": re.compile(
        r"\b(gh[pousr]_\w{30,}|github_pat_\w{30,}|hf_[A-Za-z0-9]{30,}|xox[abprs]-[\w-]{10,}|glpat-[\w-]{20,}|sk[-_][\w-]{20,})"
    ),
    "a header that lets in": re.compile(
        r"\b(Bearer|Authorization[\"']?\s*[:=]\s*[\"']?\w+)\s+(?!\$|<)[\w.~+/=-]{8,}", re.IGNORECASE
    ),
    "a user with a password": re.compile(
        r"\b(curl|wget|https?)\b[^;|&\n]{0,500}?\s(-u|-U|--user|--proxy-user)[=\s]*[\"']?[^\s:\"'$]+:(?!\$)[^\s\"']+"
    ),
    "a password for sshpass": re.compile(r"\bsshpass\s+-p\s*(?![\"']?\$)\S+"),
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
_ELSEWHERE = re.compile(r"""["']?(\$|~|\.{1,2}/|file:|<)""")
"""A value that is no secret itself, but says where one is: a variable, a path, a redirection."""
_NAMES_A_PATH = re.compile(r"(file|path|dir|folder|credentials)$", re.IGNORECASE)
"""What such a name is given may begin with a slash, as keys do, too: one of 64 that AWS makes."""
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
    bare = value.strip("\"'")
    is_path = bare.startswith("/") and bool(_NAMES_A_PATH.search(name))
    return is_named_so and bool(bare) and not is_path and not _ELSEWHERE.match(value)
