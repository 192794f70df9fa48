"""Row 17: data that changed, or rows that were swapped, are refused with the file and both hashes, and exit code 3."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.faults.test_row_18_mutated_input import table
from trainables.tasks import CS224N
from tuner.ledger import Ledger
from tuner.prepare import prepare
from tuner.search import EXIT_DATA_CHANGED, app

FILE = "quora-train.csv"
pytestmark = pytest.mark.row(17, "data changed, or rows or files swapped, before a search goes on")


def swap_rows(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    lines[3], lines[5] = lines[5], lines[3]
    return b"".join(lines)


def swap_labels(content: bytes) -> bytes:
    lines = [line.rsplit(b"\t", 1) for line in content.splitlines()]
    lines[2][1], lines[3][1] = lines[3][1], lines[2][1]
    return b"".join(b"\t".join(line) + b"\n" for line in lines)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "rows swapped": swap_rows,
    "labels swapped": swap_labels,
    "one letter": lambda content: content.replace(b"film", b"filn", 1),
    "a row more": lambda content: content + content.splitlines(keepends=True)[-1],
    "line ends": lambda content: content.replace(b"\n", b"\r\n"),
}


@pytest.fixture
def begun(tmp_path: Path) -> tuple[Path, Path]:
    """A search that was begun, and the folder of its data."""
    data, search = tmp_path / "data", tmp_path / "search"
    data.mkdir()
    search.mkdir()
    for task in CS224N.tasks:
        for split in ("train", "dev"):
            (data / f"{task.file_stem}-{split}.csv").write_bytes(table(task, split))
    plan = prepare({"space": "basics"}, set_texts=["encoder.name=tiny", "budget_examples=90"], data=str(data))
    Ledger.create(search, {**plan.header(), "id": "0" * 32, "name": "search", "ended": "stopped"})
    return search, data


def test_data_as_they_were_go_on(begun: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(app, ["--resume", str(begun[0]), "--print-config"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_are_refused_with_the_file_and_both_hashes(begun: tuple[Path, Path], change: str) -> None:
    search, data = begun
    before = (data / FILE).read_bytes()
    after = CHANGES[change](before)
    (data / FILE).write_bytes(after)
    done = CliRunner().invoke(app, ["--resume", str(search)])
    was, now = (hashlib.sha256(content).hexdigest() for content in (before, after))
    assert done.exit_code == EXIT_DATA_CHANGED == 3
    assert done.stderr == f"Nothing was started:\n  {FILE}: the data have changed: sha256 was {was}, is {now}\n"
    (data / FILE).write_bytes(before)
    assert CliRunner().invoke(app, ["--resume", str(search), "--print-config"]).exit_code == 0


def test_a_swapped_pair_of_files_is_two_changed_files(begun: tuple[Path, Path]) -> None:
    search, data = begun
    one, other = data / "sts-train.csv", data / "sts-dev.csv"
    one_content, other_content = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_content)
    other.write_bytes(one_content)
    done = CliRunner().invoke(app, ["--resume", str(search)])
    assert done.exit_code == 3
    assert "sts-train.csv: the data have changed" in done.stderr and "sts-dev.csv: the data have changed" in done.stderr
