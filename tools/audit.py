"""`python -m tools.audit`: holds every pinned package against the advisories known; where it cannot, it fails.

Without `--advisories` pip-audit asks PyPI.  With it, the advisories are OSV files (JSON, one an advisory, as
https://osv.dev gives them for PyPI), and nothing is asked over the network.

Exit codes: 0 no advisory is about a pinned version; 1 one is; 2 something could not be looked at, a package or an advisory, or
pip-audit does not run.  Nothing is said to be safe then.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;\\]+)(?P<rest>.*)$")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
FOUND, NOT_LOOKED_AT = 1, 2


class AuditError(ValueError):
    """Something could not be looked at; a sentence for each in `problems`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Advisory:
    """What an OSV file says: its name, and package -> what is affected (`versions`, `ranges`)."""

    name: str
    affected: Mapping[str, list[Mapping[str, Any]]] = field(default_factory=dict)


def normalised(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(text: str) -> dict[str, Version]:
    """Package -> version of a lock file.

    Raises:
        AuditError: a line that is no pin, a pin without a hash, a version that is none, no pin at all.
    """
    pins: dict[str, Version] = {}
    problems = []
    for line in (raw.partition(" #")[0].strip() for raw in text.replace("\\\n", " ").splitlines()):
        if not line or line.startswith("#"):
            continue
        found = _PIN.match(line)
        if found is None or not _HASH.search(found["rest"]):
            problems.append(f"{line[:80]}: a pin with a sha256 must stand here: NAME==VERSION --hash=sha256:...")
            continue
        try:
            pins[normalised(found["name"])] = Version(found["version"])
        except InvalidVersion:
            problems.append(f"{found['name']}: {found['version']} is no version that can be compared")
    if problems or not pins:
        raise AuditError(problems or ["no package is pinned"])
    return pins


def read_advisories(folder: Path) -> Iterator[Advisory]:
    """The advisories in a folder of OSV files, at any depth; those that were withdrawn are left out.

    Raises:
        AuditError: no file there, or one that cannot be read.
    """
    files = sorted(folder.rglob("*.json"))
    if not files:
        raise AuditError([f"{folder}: no advisory stands here (OSV files end in .json)"])
    for file in files:
        try:
            tree = json.loads(file.read_text(encoding="utf-8"))
            affected: dict[str, list[Mapping[str, Any]]] = {}
            for part in tree.get("affected", []):
                if part["package"]["ecosystem"] == "PyPI":
                    affected.setdefault(normalised(part["package"]["name"]), []).append(part)
            if not tree.get("withdrawn"):
                yield Advisory(str(tree["id"]), affected)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise AuditError([f"{file}: no OSV advisory ({type(error).__name__}: {error})"]) from None


def is_affected(version: Version, part: Mapping[str, Any]) -> bool:
    """Whether a version is among those that an advisory lists, or in one of its ranges.

    Raises:
        InvalidVersion: the advisory names a version that cannot be compared.
    """
    if version in {Version(text) for text in part.get("versions", []) if _is_version(text)}:
        return True
    return any(_is_in(version, span["events"]) for span in part.get("ranges", []) if span["type"] == "ECOSYSTEM")


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False  # of a time before versions had a form: none that is pinned
    return True


def _is_in(version: Version, events: Iterable[Mapping[str, str]]) -> bool:
    """Events in their order: `introduced` opens a range, `fixed` and `last_affected` close it."""
    inside = False
    for event in events:
        if "introduced" in event:
            inside = inside or event["introduced"] == "0" or version >= Version(event["introduced"])
        elif "fixed" in event:
            inside = inside and version < Version(event["fixed"])
        elif "last_affected" in event:
            inside = inside and version <= Version(event["last_affected"])
    return inside


def audit(pins: Mapping[str, Version], advisories: Iterable[Advisory]) -> tuple[list[str], int]:
    """A sentence for each advisory about a pinned version, and how many advisories were looked at.

    Raises:
        AuditError: an advisory about a pinned package cannot be compared.
    """
    found, problems, count = [], [], 0
    for advisory in advisories:
        count += 1
        for name in advisory.affected.keys() & pins.keys():
            try:
                if any(is_affected(pins[name], part) for part in advisory.affected[name]):
                    found.append(f"{name} {pins[name]}: {advisory.name}")
            except (InvalidVersion, KeyError, TypeError) as error:
                problems.append(f"{advisory.name}: cannot be compared with {name} {pins[name]} ({error})")
    if problems:
        raise AuditError(problems)
    return sorted(found), count


def ask_pypi(pins: Mapping[str, Version], lock: Path) -> tuple[list[str], list[str]]:
    """A sentence for each advisory that pip-audit finds about a pinned version, and one for each package that it did not look at.

    Its list says so, its exit code does not: that is 1 where something is found, and where it cannot look at all.

    Raises:
        AuditError: it gave no list.
    """
    options = ["--disable-pip", "--require-hashes", "--format", "json", "--requirement", str(lock)]
    done = subprocess.run([sys.executable, "-m", "pip_audit", *options], check=False, stdout=subprocess.PIPE, text=True)
    try:
        listed = {normalised(entry["name"]): entry for entry in json.loads(done.stdout)["dependencies"]}
        found = [f"{name} {pins[name]}: {each['id']}" for name in listed.keys() & pins for each in listed[name].get("vulns", [])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise AuditError([f"pip-audit gave no list of what it looked at (exit code {done.returncode})"]) from None
    missing = {name: listed.get(name, {}) for name in sorted(pins) if "vulns" not in listed.get(name, {})}
    return sorted(found), [f"{name}: {entry.get('skip_reason', 'not looked at')}" for name, entry in missing.items()]


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description="Holds pinned packages against known advisories.")
    parser.add_argument("--advisories", type=Path, help="folder of OSV files [PyPI is asked]")
    parser.add_argument("--lock", type=Path, default=LOCK, help="pins with hashes [requirements.lock]")
    given = parser.parse_args(arguments)
    skipped: list[str] = []
    try:
        pins = read_pins(given.lock.read_text(encoding="utf-8"))
        if given.advisories is None:
            found, skipped = ask_pypi(pins, given.lock)
            source = "PyPI's advisories"
        else:
            found, count = audit(pins, read_advisories(given.advisories))
            source = f"{count} advisories"
    except (AuditError, OSError) as error:
        return _not_looked_at(getattr(error, "problems", [f"{given.lock}: {error}"]))
    print(*found, f"{len(pins)} packages, {source}, {len(found)} found", sep="\n")
    code = _not_looked_at(skipped) if skipped else 0
    return FOUND if found else code


def _not_looked_at(problems: list[str]) -> int:
    print(*problems, "nothing is said to be safe", sep="\n", file=sys.stderr)
    return NOT_LOOKED_AT


if __name__ == "__main__":
    sys.exit(main())
