from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from trainables.parts import ConfigError
from tuner import driver, search
from tuner.interrupts import EXIT_INTERRUPTED
from tuner.ledger import LedgerError


@pytest.mark.parametrize("error", [ConfigError(["too small"]), LedgerError("too small")], ids=["config", "ledger"])
def test_what_the_driver_refuses_is_told_without_a_traceback(error: ValueError, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_kwargs: Any) -> int:
        raise error

    monkeypatch.setattr(search, "_look_at", lambda given: (Path("runs/a"), None, None))
    monkeypatch.setattr(driver, "drive", refuse)
    done = CliRunner().invoke(search.app, [])
    assert done.exit_code == search.EXIT_MISTAKE
    assert done.stderr == "Nothing was started:\n  too small\n"


def test_ctrl_c_outside_of_the_trials_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: Any, **_kwargs: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "_look_at", lambda given: (Path("runs/a"), None, None))
    monkeypatch.setattr(driver, "drive", interrupt)
    done = CliRunner().invoke(search.app, [])
    assert done.exit_code == EXIT_INTERRUPTED
    assert "--resume runs/a" in done.stderr
