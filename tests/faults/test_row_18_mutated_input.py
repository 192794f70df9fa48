"""Row 18: mutated data files, configs and command lines: no traceback, no row lost in silence, every error told with its place.

The default suite takes a part of the examples; --runfaults=full takes 2,000 data files and 1,000 configs and command lines, of
a fixed seed.  The scorecard says how long the slowest took: 5 s for a data file and 2 s for a config are wanted.
"""

import copy
import csv
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.end_to_end.conftest import ROOT
from tests.faults.scorecard import Row
from trainables.config import TrialConfig
from trainables.config_parts import DataConfig
from trainables.data.cs224n import FileRows, read_file
from trainables.data.reading import DataError, load_rows
from trainables.tasks import CS224N, Task
from trainables.train import app as train_app
from tuner.search import app as search_app

NUM_ROWS = 12
WORDS = ["the", "a", "film", "was", "good", "bad", "slow", "fine"]


def examples(what: str, quick: int, all_of_them: int) -> Callable[[Any], Any]:
    """Runs a property with a part of its examples, and under --runfaults=full with all; each is a run of the row."""

    def mark(check: Callable[..., None]) -> Any:
        @pytest.mark.timeout(3000)
        def test(full: bool, tmp_path: Path, row: Callable[..., Row], monkeypatch: pytest.MonkeyPatch) -> None:
            filled = row(18, what, "of each, to its answer")
            monkeypatch.chdir(tmp_path)
            options = settings(
                max_examples=all_of_them if full else quick,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )

            @seed(20261122)
            @options
            @given(st.data())
            def once(data: st.DataObject) -> None:
                filled.runs += 1
                began = time.perf_counter()
                check(data, tmp_path)
                filled.recover_seconds.append(time.perf_counter() - began)

            once()

        test.__name__ = check.__name__
        test.__doc__ = check.__doc__
        return test

    return mark


def table(task: Task, split: str) -> bytes:
    lines = [["", "id", *task.sentence_columns, task.label_column]]
    for row in range(NUM_ROWS):
        texts = [" ".join(WORDS[(row + k + n) % len(WORDS)] for k in range(3)) for n in range(len(task.sentence_columns))]
        lines.append([str(row), f"{split}{row}", *texts, str(row % (int(task.label_high) + 1))])
    return "".join("\t".join(cells) + "\n" for cells in lines).encode()


# fmt: off
HOSTILE = [
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b'""', b"\t", b"\n", b"\r", b"\r\n", b"\n\n", b",", b" ", b"nan", b"inf",
    b"-1", b"1e999",
]
HOSTILE += [b"0x1", "\u2028\u0085\x0b\x0c\x1c".encode(), "\u0665".encode(), b"9" * 400, b"a" * 200_000, b"id", b"_1", b"\x1b[2J"]
# fmt: on


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with one to three changes: bytes flipped, parts cut, doubled, moved, hostile texts put in."""
    for _ in range(draw(st.integers(1, 3))):
        at, end = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
        kind = draw(st.sampled_from(["flip", "cut", "end", "double", "insert", "insert", "replace", "lines"]))
        if kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at] + content[min(end, at + 40) :]
        elif kind == "end":
            content = content[:at]
        elif kind == "double":
            content = content[:end] + content[at:end] + content[end:]
        elif kind in {"insert", "replace"}:
            content = content[:at] + draw(st.sampled_from(HOSTILE)) + content[at + (kind == "replace") :]
        elif kind == "lines":
            content = b"\n".join(draw(st.permutations(content.split(b"\n"))))
    return content


def independent_count(content: bytes) -> int | None:
    """Rows below the header, counted without `csv`; None where quotes make that another question."""
    text = content.decode("utf-8-sig")
    return None if '"' in text else sum(line != "" for line in re.split(r"\r\n|\n|\r", text)) - 1


@pytest.fixture(autouse=True)
def _small_cells() -> Iterator[None]:
    before = csv.field_size_limit()
    yield
    assert csv.field_size_limit() == before


@examples("data files mutated", 60, 2000)
def test_a_mutated_data_file_loses_no_row_in_silence(data: st.DataObject, folder: Path) -> None:
    task = data.draw(st.sampled_from(CS224N.tasks))
    for other in CS224N.tasks:
        for split in ("train", "dev"):
            (folder / f"{other.file_stem}-{split}.csv").write_bytes(table(other, split))
    path = folder / f"{task.file_stem}-train.csv"
    path.write_bytes(content := data.draw(mutated(table(task, "train"))))
    try:
        rows = load_rows(DataConfig(source=str(folder)))
    except DataError as refused:
        problems = refused.problems
        assert problems and all(re.match(rf"{re.escape(str(path))}( line \d+)?[:,]", problem) for problem in problems)
        assert all("\n" not in problem and len(problem) < 1000 for problem in problems)
        return
    file: FileRows = read_file(path, task, labelled=True)
    used = rows.splits[task.name]["train"]
    assert rows.rows_read[path.name] == used.num_rows + len(rows.left_out) == file.num_rows
    assert all(left.file == path.name and left.line > 1 for left in rows.left_out)
    counted = independent_count(content)
    assert counted is None or counted == file.num_rows


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(found for key, value in inner for found in leaves(value, (*path, key)))]


# fmt: off
ODD: list[Any] = [
    None, True, -1, 0, 2**70, 1e308, float("nan"), float("inf"), "", "x" * 5000, "\x1b[2J", [], {}, [[]], {"a": {"b": 1}},
]
ODD += [
    "../..", "/dev/null", "~nobody", "\u202e", "row:x", [None], [{}], {"sst": None}, {"": 1}, "sst", 3.5, "nul\x00l",
    "2026-11-22",
]
# fmt: on
CONFIG = TrialConfig.parse({"encoder": {"name": "tiny"}}).to_tree()


def put(tree: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


@st.composite
def mutated_config(draw: st.DrawFn) -> bytes:
    """The YAML of a config with values replaced and keys renamed, and in a third of the cases changes to the text itself."""
    tree = yaml.safe_load(yaml.safe_dump(CONFIG))
    odd = st.sampled_from(ODD).map(copy.deepcopy)  # a later change may reach into it
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([place for place in leaves(tree) if place]))
        put(tree, path, draw(odd))
        if draw(st.booleans()) and isinstance(tree, dict):
            tree[draw(st.sampled_from(["lr", "optimzer", "tasks", "a.b", "__class__", "model_config"]))] = draw(odd)
    text = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    return draw(mutated(text)) if draw(st.integers(0, 2)) == 0 else text


def complaint_of(app: Any, args: list[str]) -> str | None:
    """What a command complains about; None where it does not.  Anything but that fails."""
    done = CliRunner().invoke(app, args)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError(f"{args}: {type(done.exception).__name__}: {done.exception}") from done.exception
    assert done.exit_code in {0, 2}, (args, done.output)
    assert "Traceback" not in done.output
    return done.stderr if done.exit_code == 2 else None


@examples("configs mutated", 40, 500)
def test_a_mutated_config_is_read_or_told_with_its_place(data: st.DataObject, folder: Path) -> None:
    file = folder / "config.yaml"
    file.write_bytes(data.draw(mutated_config()))
    said = complaint_of(train_app, ["--config", str(file), "--print-config"])
    if said is not None:
        lines = [line for line in said.splitlines() if line.strip()]
        assert lines and all(": " in line or "must" in line for line in lines), said
        assert all(len(line) < 12_000 for line in lines)


# fmt: off
VALUES = [
    "", " ", "0", "-1", "1", "3", "1e9", "nan", "a", "+0", "+3", "tpe", "grid", "../..", "/dev/null", "x=y", "=",
    "optimizer.lr", "sample",
]
VALUES += [
    "optimizer.lr=3e-5", "optimizer.lr=[", "a.b.c=1", "heads.*.kind=mlp", "*=1", "*.*=1", ".=1", "..=1", "data=1", "sst.=1",
    "phases=[]",
]
VALUES += [
    "phases.0.tasks=[sst]", "tasks=cs224n", "encoder=null", "--", "-", "\udcff", "\x1b[2J", "é" * 300, "9" * 400, "2h",
    "1h1h", "9" * 99 + "h",
]
VALUES += [
    "http://", "http://a b", "sqlite://", "sqlite:///", "postgresql://u:p@h/d", "sqlite:///a?b=c", "http://[", "file:///etc",
    "basics", "leaderboard",
]
VALUES += [
    "best_fit.schedules", "objective={}", "data.source=/", "data.more_rows.sst=[/dev/null]", "encoder.name=/dev", "x" * 5000,
    "seed=-1",
]
# fmt: on
# fmt: off
OPTIONS = [
    "--tasks", "--data", "--out", "--trials", "--space", "--study", "--rows", "--seeds", "--searcher", "--budget",
    "--time-budget",
]
OPTIONS += [
    "--concurrency", "--cpus-per-trial", "--gpus-per-trial", "--early-stopping", "--reduction-factor", "--keep-models",
    "--seed",
]
OPTIONS += ["--config", "--set", "--tracking-uri", "--resume", "--no-such"]
# fmt: on


@examples("command lines mutated", 25, 500)
def test_a_mutated_command_line_is_taken_or_told(data: st.DataObject, folder: Path) -> None:
    (folder / "mine.yaml").write_bytes(b"dimensions:\n  optimizer.lr: {float: [1e-5, 3e-4], log: true}\n")
    values = st.sampled_from([*VALUES, "mine.yaml", str(folder)])
    args = ["--set", "encoder.name=tiny", "--space", "mine.yaml", "--print-config"]
    for option in data.draw(st.lists(st.sampled_from(OPTIONS), min_size=1, max_size=3)):
        args += [option, data.draw(values)]
    said = complaint_of(search_app, args)
    assert said is None or said.strip()


REAL = [
    ["--data", "\udcff\udcfe", "--print-config"],
    ["--set", "encoder.name=\udcff", "--print-config"],
    ["--set", "optimizer.lr=\x1b[2J"],
    ["--trials", "9" * 400],
    ["--out", "x" * 5000],
]


@pytest.mark.row(18, "odd command lines, each in a process of its own", "of each, to its end")
@pytest.mark.parametrize("args", REAL, ids=lambda args: repr(args[1])[:20])
def test_real_processes_say_the_same(args: list[str], tmp_path: Path, shared_row: Row) -> None:
    began = time.perf_counter()
    command = [sys.executable, "-m", "tuner.search", *args]
    done = subprocess.run(
        command, capture_output=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}, timeout=100, check=False
    )
    shared_row.recover_seconds.append(time.perf_counter() - began)
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False), done.stderr.decode(errors="replace")
    assert done.stderr.startswith(b"Nothing was started") or b"Usage" in done.stderr
