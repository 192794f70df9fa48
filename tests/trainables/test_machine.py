import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.machine import this_machine

CODE = "from trainables.machine import this_machine; print(this_machine())"


def told_by(*before: str) -> str:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [*before, sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_all_processes_of_a_machine_agree() -> None:
    assert told_by() == this_machine()


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a namespace: wants root")
def test_process_numbers_of_another_namespace_are_another_machines() -> None:
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace can be made here")
    assert told_by("unshare", "--pid", "--fork", "--mount-proc") != this_machine()


def test_a_system_that_does_not_tell_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> str:
        raise PermissionError

    monkeypatch.setattr(os, "readlink", refuse)
    assert this_machine() == ""
