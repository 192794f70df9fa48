"""What a shell command starts Ray with: each `ray start` in it, told from what else stands there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SEPARATOR = re.compile(r"&&|\|\||[;|&\n]")
_START = re.compile(r"(?:^|[\s/(\"'`])ray(?:\.scripts\.scripts)?[\"']?(?:\s+-\S+(?:\s+[^\s-]\S*)?)*\s+[\"']?start(?=$|[\s\"')`])")
_AUTH_MODE = re.compile(r"\bRAY_AUTH_MODE=[\"']?(\w*)")
_FORGETS = re.compile(r".*(?:^|[\s/(\"'`])(?:sudo|doas|su|runuser|env\s+-i)\s", re.DOTALL)
"""A program that begins anew with the environment, so that what was set before it is gone."""
_UMASK = re.compile(r"(?:^|[\"'({])\s*umask\s+(\d+)")
_OPTION = r"--{}(?:[=\s]+[\"']?([^\s\"')]+))?"


@dataclass(frozen=True)
class RayStart:
    """One `ray start`.

    Attributes:
        auth_mode: RAY_AUTH_MODE as it finds it: set before its name, or exported before; empty: not set.
        umask: as set before; empty: as the machine has it.
        options: what follows.
    """

    auth_mode: str
    umask: str
    options: str

    @property
    def is_head(self) -> bool:
        """Whether it begins a cluster."""
        return self.option("head") is not None

    def option(self, name: str) -> str | None:
        """The value of an option; empty where it has none, None where it is not given.  Given more often, the last one counts."""
        found = re.findall(_OPTION.format(name) + r"(?=$|[\s\"')])", self.options)
        return found[-1] if found else None


def ray_starts(command: str) -> Iterator[RayStart]:
    """Each `ray start` in a command, also in one that is given to another shell in quotes."""
    exported = umask = ""
    for part in _SEPARATOR.split(command.replace("\\\n", " ")):
        if found := _UMASK.search(part):
            umask = found[1]
        if start := _START.search(part):
            forgets = _FORGETS.match(part[: start.end()])
            modes = _AUTH_MODE.findall(part[forgets.end() if forgets else 0 : start.end()])
            yield RayStart((modes or ["" if forgets else exported])[-1], umask, part[start.end() :])
        elif re.match(r"\s*export\b", part) and (modes := _AUTH_MODE.findall(part)):
            exported = modes[-1]
