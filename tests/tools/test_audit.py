import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tools.audit import LOCK, AuditError, main, normalised, read_pins

HASH = f"--hash=sha256:{'0' * 64}"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    (tmp_path / "lock").write_text(f"# made\nFlask_Cors==6.0.5 \\\n    {HASH} \\\n    {HASH}\nmlflow==3.17.2 {HASH}\n")
    return tmp_path / "lock"


def write_advisory(folder: Path, name: str, package: str, **affected: Any) -> None:
    folder.mkdir(exist_ok=True)
    part = {"package": {"ecosystem": "PyPI", "name": package}, **affected}
    (folder / f"{name}.json").write_text(json.dumps({"id": name, "affected": [part]}))


def events(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": [{kind: version} for kind, version in pairs]}]}


@pytest.mark.parametrize(
    ("affected", "code"),
    [
        (events(("introduced", "0"), ("fixed", "3.17.3")), 1),
        (events(("introduced", "0"), ("fixed", "3.17.2")), 0),
        (events(("introduced", "3.18")), 0),
        (events(("introduced", "3.0"), ("last_affected", "3.17.2")), 1),
        (events(("introduced", "0"), ("fixed", "2.0"), ("introduced", "3.17"), ("fixed", "3.18")), 1),
        (events(("introduced", "0"), ("fixed", "2.0"), ("introduced", "3.18")), 0),
        ({"versions": ["3.17.2"]}, 1),
        ({"versions": ["3.17.2.0", "not-a-version"]}, 1),
        ({"versions": ["3.17.1"]}, 0),
        (events(("introduced", "0"), ("fixed", "not-a-version")), 2),
        ({"ranges": [{"type": "ECOSYSTEM"}]}, 2),
    ],
)
def test_an_advisory_about_a_pinned_version_fails(lock: Path, tmp_path: Path, affected: dict[str, Any], code: int) -> None:
    write_advisory(tmp_path / "db", "PYSEC-1", "MLflow", **affected)
    assert main(["--lock", str(lock), "--advisories", str(tmp_path / "db")]) == code


def test_names_are_compared_as_indexes_do(lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_advisory(tmp_path / "db", "PYSEC-2", "flask.cors", versions=["6.0.5"])
    assert main(["--lock", str(lock), "--advisories", str(tmp_path / "db")]) == 1
    assert capsys.readouterr().out == "flask-cors 6.0.5: PYSEC-2\n2 packages, 1 advisories, 1 found\n"


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"id": "x", "affected": [3]}', "[" * 100_000])
def test_what_cannot_be_read_is_not_said_to_be_safe(lock: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "db").mkdir()
    assert main(["--lock", str(lock), "--advisories", str(tmp_path / "db")]) == 2, "an empty database"
    (tmp_path / "db" / "x.json").write_text(content)
    assert main(["--lock", str(lock), "--advisories", str(tmp_path / "db")]) == 2


@pytest.mark.parametrize("line", ["mlflow>=3", "mlflow==3.17.2", f"mlflow==x.y {HASH}", f"-e . {HASH}", "mlflow @ file:///x", ""])
def test_a_package_that_is_skipped_is_a_failure(tmp_path: Path, line: str) -> None:
    (tmp_path / "lock").write_text(f"{line}\n")
    with pytest.raises(AuditError):
        read_pins((tmp_path / "lock").read_text())
    assert main(["--lock", str(tmp_path / "lock"), "--advisories", str(tmp_path)]) == 2


def test_the_lock_holds_what_is_pinned_for_the_tests() -> None:
    pins = read_pins(LOCK.read_text())
    constraints = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    pinned = {name: pins.get(normalised(name)) for name in constraints}
    assert pinned == {name: Version(version) for name, version in constraints.items()}


FLASK, MLFLOW = {"name": "flask-cors", "version": "6.0.5", "vulns": []}, {"name": "mlflow", "version": "3.17.2", "vulns": []}
FOUND_IN = {**MLFLOW, "vulns": [{"id": "PYSEC-3", "fix_versions": []}]}


@pytest.mark.parametrize(
    ("printed", "its_code", "code", "said"),
    [
        ({"dependencies": [FLASK, MLFLOW], "fixes": []}, 0, 0, "2 packages, PyPI's advisories, 0 found"),
        ({"dependencies": [FLASK, FOUND_IN]}, 1, 1, "mlflow 3.17.2: PYSEC-3"),
        ({"dependencies": [{"name": "flask-cors", "skip_reason": "not on PyPI"}, FOUND_IN]}, 1, 1, "flask-cors: not on PyPI"),
        ({"dependencies": [FLASK, {"name": "mlflow", "skip_reason": "not on PyPI"}]}, 0, 2, "mlflow: not on PyPI"),
        ({"dependencies": [FLASK]}, 0, 2, "mlflow: not looked at"),
        ({}, 0, 2, "pip-audit gave no list of what it looked at (exit code 0)"),
        (None, 1, 2, "pip-audit gave no list of what it looked at (exit code 1)"),
    ],
    ids=["safe", "found", "found and skipped", "skipped", "left out", "no list", "silent"],
)
def test_only_what_pip_audit_lists_counts_as_found(
    lock: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    printed: dict[str, Any] | None,
    its_code: int,
    code: int,
    said: str,
) -> None:
    done = subprocess.CompletedProcess([], its_code, stdout="" if printed is None else json.dumps(printed))
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_kwargs: done)
    assert main(["--lock", str(lock)]) == code
    assert said in "".join(capsys.readouterr())


def test_where_pip_audit_is_not_installed_nothing_was_found(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')  # without installed packages
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    assert main(["--lock", str(lock)]) == 2
