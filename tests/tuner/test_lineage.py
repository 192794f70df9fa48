import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tuner import lineage


@pytest.fixture(autouse=True)
def _described_anew() -> Iterator[None]:
    lineage.describe_code_and_machine.cache_clear()
    yield
    lineage.describe_code_and_machine.cache_clear()


def test_code_packages_and_machine_are_described_in_plain_values() -> None:
    described = lineage.describe_code_and_machine()
    assert json.loads(json.dumps(described)) == described
    assert described["packages"]["optuna"] == "5.0.0"
    assert described["packages"]["tritune"]
    hardware = described["hardware"]
    assert hardware["cpu"] and hardware["num_cpus"] >= 1 and hardware["memory_gib"] > 0.1
    assert isinstance(hardware["gpus"], list)


@pytest.mark.parametrize("status", ["", " M tuner/search.py"])
def test_the_commit_is_named_and_whether_it_was_changed_since(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> Any:
        out = "c0ffee\n" if "rev-parse" in command else f"{status}\n"
        return subprocess.CompletedProcess(command, 0, stdout=out)

    monkeypatch.setattr(subprocess, "run", run)
    described = lineage.describe_code_and_machine()
    assert (described["git_commit"], described["git_dirty"]) == ("c0ffee", bool(status))


@pytest.mark.parametrize(
    "error", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 5), subprocess.CalledProcessError(128, "git")]
)
def test_without_git_there_is_no_commit_and_no_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    described = lineage.describe_code_and_machine()
    assert (described["git_commit"], described["git_dirty"]) == (None, False)


def test_a_package_that_is_missing_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "_PACKAGES", ("optuna", "no-such-package-here"))
    assert lineage.describe_code_and_machine()["packages"] == {"optuna": "5.0.0", "no-such-package-here": None}
