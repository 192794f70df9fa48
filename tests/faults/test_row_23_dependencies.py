"""Row 23: an advisory about any pinned package is found, and a lock that does not pin everything is not said to be safe."""

import json
from collections.abc import Callable
from pathlib import Path

from packaging.version import Version

from tests.faults.scorecard import Row
from tools.audit import FOUND, LOCK, NOT_LOOKED_AT, main, read_pins


def write_advisory(folder: Path, package: str, version: Version) -> None:
    affected = {"package": {"ecosystem": "PyPI", "name": package}, "versions": [str(version)]}
    (folder / "advisory.json").write_text(json.dumps({"id": "PYSEC-0", "affected": [affected]}))


def test_an_advisory_about_each_pinned_package_is_found(tmp_path: Path, row: Callable[..., Row]) -> None:
    filled = row(23, "an advisory about a pinned version, and about the next, of each package in turn")
    for package, version in read_pins(LOCK.read_text()).items():
        for affected, wanted in ((version, FOUND), (Version(f"{version.base_version}.post999"), 0)):
            write_advisory(tmp_path, package, affected)
            filled.runs += 1
            if (code := main(["--advisories", str(tmp_path)])) != wanted:
                filled.failures.append(f"{package} {affected}: exit code {code}")
    assert filled.failures == []


def test_each_pin_without_its_hashes_is_told(tmp_path: Path, row: Callable[..., Row]) -> None:
    filled = row(23, "the hashes of a pinned package taken away, of each in turn")
    write_advisory(tmp_path, "nothing-pinned", Version("1"))
    lines = LOCK.read_text().replace("\\\n", " ").splitlines()
    for number, line in enumerate(lines):
        (tmp_path / "lock").write_text("\n".join([*lines[:number], line.partition("--hash")[0], *lines[number + 1 :]]))
        filled.runs += 1
        if (code := main(["--lock", str(tmp_path / "lock"), "--advisories", str(tmp_path)])) != NOT_LOOKED_AT:
            filled.failures.append(f"{line.split()[0]}: exit code {code}")
    assert filled.failures == []
