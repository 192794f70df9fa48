import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.end_to_end.conftest import ROOT
from trainables.parts import ConfigError
from tuner import driver, search
from tuner.interrupts import EXIT_INTERRUPTED
from tuner.ledger_places import LedgerError


@pytest.mark.parametrize("error", [ConfigError(["too small"]), LedgerError("too small")], ids=["config", "ledger"])
def test_what_the_driver_refuses_is_told_without_a_traceback(error: ValueError, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_kwargs: Any) -> int:
        raise error

    monkeypatch.setattr(search, "_look_at", lambda given: (Path("runs/a"), None, None))
    monkeypatch.setattr(driver, "drive", refuse)
    done = CliRunner().invoke(search.app, [])
    assert done.exit_code == search.EXIT_MISTAKE
    assert done.stderr == "Nothing was started:\n  too small\n"


@pytest.mark.parametrize("step", ["_look_at", "drive"])
def test_a_disk_that_is_full_before_anything_starts_has_its_exit_code(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that has to be made whole is copied, by SQLite, whose error is none of the system's."""

    def fill_up(*_args: Any, **_kwargs: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(search, "_look_at", fill_up if step == "_look_at" else lambda given: (Path("runs/a"), None, None))
    monkeypatch.setattr(driver, "drive", fill_up)
    done = CliRunner().invoke(search.app, [])
    assert done.exit_code == search.EXIT_DISK_FULL == 4
    assert done.stderr == "the disk is full, nothing was started: database or disk is full\n"


def test_ctrl_c_outside_of_the_trials_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: Any, **_kwargs: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "_look_at", lambda given: (Path("runs/a"), None, None))
    monkeypatch.setattr(driver, "drive", interrupt)
    done = CliRunner().invoke(search.app, [])
    assert done.exit_code == EXIT_INTERRUPTED
    assert "--resume runs/a" in done.stderr


REFUSED = """
import sys
from tuner.search import app
try:
    app(["--trials", "x", "--set", "encoder.name=tiny"])
except SystemExit as ended:
    heavy = {"optuna", "sqlalchemy", "mlflow", "ray", "torch", "transformers"}
    print(ended.code, *sorted(heavy & set(sys.modules)))
"""


def test_a_mistake_is_told_before_anything_large_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "2\n", done
    assert "--trials: a whole number" in done.stderr


def test_a_signal_while_it_is_being_imported_ends_it_in_a_sentence() -> None:
    """Python tells what it imports: the signal comes amid that."""
    command = [sys.executable, "-X", "importtime", "-m", "tuner.search", "--plan"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(line.rpartition("|")[2].strip() == "typer" for line in process.stderr)
        process.terminate()
        said = process.stderr.read()
    assert process.returncode == EXIT_INTERRUPTED
    assert said.endswith("stopped before anything was begun\n")
    assert "Traceback" not in said
