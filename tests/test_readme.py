"""The README's commands are commands that exist: every option, every make target, every file it names."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from search_spaces.space import Space
from trainables.config import TrialConfig
from trainables.tasks import read_tasks

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if line.split("#")[0].strip()
]


def test_there_are_commands() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"make", "python"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python ")])
def test_python_commands_parse(command: str) -> None:
    _, flag, module, *args = shlex.split(command)
    assert flag == "-m"
    found = importlib.import_module(module)
    app = importlib.import_module(f"{module}.__main__").app if hasattr(found, "__path__") else found.app
    cli = typer.main.get_command(app)
    if hasattr(cli, "commands"):
        cli, args = cli.commands[args[0]], args[1:]
    cli.make_context(module, args)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    done = subprocess.run(["make", "--dry-run", command.split()[1]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_space_in_the_readme_is_one(tmp_path: Path) -> None:
    [block, _] = [block for language, block in BLOCKS if language == "yaml"]
    (tmp_path / "space.yaml").write_text(block)
    assert Space.read(tmp_path / "space.yaml").problems(TrialConfig()) == []


def test_the_tasks_in_the_readme_are_some(tmp_path: Path) -> None:
    [_, block] = [block for language, block in BLOCKS if language == "yaml"]
    (tmp_path / "tasks.yaml").write_text(block)
    assert read_tasks(tmp_path / "tasks.yaml").names == ("sst", "qqp", "sts", "cfimdb")


def test_files_named_are_there() -> None:
    for name in re.findall(r"`((?:trainables|tuner|search_spaces|docs)/[\w/.]*\.\w+)`", README):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).is_file(), name


def test_the_scorecard_is_the_one_that_was_made() -> None:
    rows = [line for line in (ROOT / "docs" / "scorecard.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert "\n".join(rows) in README
