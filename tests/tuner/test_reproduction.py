import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.trained_search import small_data, train_search
from trainables.config import TrialConfig
from tuner.records import TrialRecord
from tuner.reproduction import reproduce_script

ROOT = Path(__file__).resolve().parents[2]
REPORT = {"report": 3, "score": 0.61, "budget": 96, "train_seconds": 1.0}
HOSTILE = "x\nrm -rf /\x1b[2J"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An export in a folder with an odd name, and its data, among them further rows of a task."""
    folder = tmp_path_factory.mktemp("it's odd")
    data = small_data(folder / "the data")
    shutil.copy(data / "ids-sst-dev.csv", data / "more.csv")
    return train_search(folder / "a $search", data, data__more_rows={"sst": [str(data / "more.csv")]}) / "best", data


def run(script: Path, *args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "CDPATH": "/:/tmp"}
    command = [str(script), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=180)


def score_of(best: Path) -> float:
    return float(json.loads((best / "metrics.json").read_text())["best_report"]["score"])


def test_it_trains_the_model_again_from_any_folder(made: tuple[Path, Path], tmp_path: Path) -> None:
    best, _ = made
    done = run(best / "reproduce.sh", "--out", "again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"best score {score_of(best):.4f}, report 3 of 3" in done.stdout
    again = json.loads((tmp_path / "again" / "best" / "metrics.json").read_text())
    assert again["score"] == score_of(best)


def test_data_that_have_moved_are_named_and_may_be_held_against_their_sums(made: tuple[Path, Path], tmp_path: Path) -> None:
    best = shutil.copytree(made[0], tmp_path / "elsewhere" / "best")
    data = shutil.copytree(made[1], tmp_path / "moved")
    config = (best / "config.yaml").read_text()
    assert str(made[1]) in config
    (best / "config.yaml").write_text(config.replace(str(made[1]), "/gone"))
    script = (best / "reproduce.sh").read_text().replace(str(made[1]), "/gone").replace("it'\"'\"'s odd", "")
    (best / "reproduce.sh").write_text(script)
    done = run(best / "reproduce.sh", "moved", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"best score {score_of(best):.4f}" in done.stdout
    check = ["bash", "-c", f"sed -n 's/^#sha256 //p' '{best}/reproduce.sh' | sha256sum --check --strict"]
    done = subprocess.run(check, capture_output=True, text=True, check=False, cwd=data)
    assert done.returncode == 0 and done.stdout.count(": OK") == 10, done.stdout
    (data / "sts-dev.csv").write_text("other")
    assert subprocess.run(check, capture_output=True, check=False, cwd=data).returncode == 1


def test_without_its_data_it_fails_and_says_so(made: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(made[0] / "reproduce.sh", tmp_path / "no", cwd=tmp_path)
    assert done.returncode == 2 and "no such folder" in done.stderr


def test_on_the_sample_it_needs_nothing(tmp_path: Path) -> None:
    best = train_search(tmp_path / "search", "sample", budget_examples=24, num_reports=1) / "best"
    assert "[DIR]" not in (best / "reproduce.sh").read_text()
    done = run(best / "reproduce.sh", cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    assert f"best score {score_of(best):.4f}, report 1 of 1" in done.stdout


def script(header: dict[str, Any] | None = None, lineage: dict[str, Any] | None = None, **changes: Any) -> str:
    config = TrialConfig().override({path.replace("__", "."): value for path, value in changes.items()})
    record = TrialRecord(7, "complete", {}, config.to_tree(), (REPORT,), lineage=lineage or {})
    return reproduce_script(config, header or {}, record)


def commands(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_environment_and_sums_stand_in_comments() -> None:
    lineage = {"git_commit": "abc", "python": "3.11.7", "packages": {"torch": "2.13.0"}}
    hashes = {"ids-sst-train.csv": "a" * 64, "wordnet index.noun": "b" * 64, "teacher /t": "c" * 64}
    text = script({"data_hashes": hashes}, lineage, data__source="/data", objective__distill__teachers__sst="/t")
    for line in (
        "#   code: commit abc",
        "#   packages: python==3.11.7 torch==2.13.0",
        f"#sha256 {'a' * 64}  ids-sst-train.csv",
        f"# sha256 of wordnet index.noun: {'b' * 64}",
        "# Recorded: score 0.61 on dev, at report 3 of 9.",
        "# It reads the teacher /t; where that has moved: --set objective.distill.teachers.sst=...",
    ):
        assert line in text.splitlines(), line
    assert text.startswith("#!/usr/bin/env bash\n") and "set -euo pipefail" in commands(text)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({}, "score 0.61 on the search part, 75 % of dev, at report 3 of 9."),
        ({"dev_share": 0.5}, "score 0.61 on 50% of the search part, 75 % of dev, at report"),
        (
            {"confirm": {"score": 0.59}},
            "score 0.61 on the search part, 75 % of dev, and 0.59 on the kept part, 25 % of dev, at report",
        ),
    ],
)
def test_a_score_is_of_the_rows_that_it_was_looked_at(report: dict[str, Any], words: str) -> None:
    config = TrialConfig().override({"data.confirm_share": 0.25})
    record = TrialRecord(7, "complete", {}, config.to_tree(), ({**REPORT, **report},))
    assert f"# Recorded: {words}" in reproduce_script(config, {}, record)


def test_sums_of_what_lies_in_no_folder_are_told() -> None:
    text = script({"data_hashes": {"sample": "a" * 64}})
    assert f"# sha256 of sample: {'a' * 64}" in text and "#sha256" not in text and "--data" not in text


def test_what_a_ledger_holds_is_never_a_command() -> None:
    lineage = {"git_commit": HOSTILE, "python": HOSTILE, "packages": {HOSTILE: HOSTILE}, "hardware": {"cpu": HOSTILE}}
    hashes = {HOSTILE: "a" * 64, "ids-sst-train.csv": HOSTILE, "quora-dev.csv": "a" * 64}
    plain = script(data__source="/data")
    text = script({"data_hashes": hashes}, lineage, data__source="/data")
    assert commands(text) == commands(plain)
    assert not re.search("\x1b|^rm", text, flags=re.MULTILINE)


@pytest.mark.parametrize("source", ["/a b/$(touch x)/`y`/'q'", '/"quoted"\n/line', "/-n"])
def test_whatever_the_folder_is_called_it_is_one_word(source: str, tmp_path: Path) -> None:
    text = script(data__source=source)
    (tmp_path / "reproduce.sh").write_text(text)
    (tmp_path / "python").write_text('#!/bin/sh\nprintf "%s\\0" "$@" > words\n')
    (tmp_path / "python").chmod(0o700)
    environment = {**os.environ, "PYTHON": str(tmp_path / "python")}
    for given, expected in ([], source), (["--quiet"], source), (["/other", "--quiet"], "/other"):
        subprocess.run(["bash", "reproduce.sh", *given], check=True, cwd=tmp_path, env=environment)
        words = (tmp_path / "words").read_text().split("\0")
        assert words[words.index("--data") + 1] == expected
        assert ("--quiet" in words) == ("--quiet" in given)
    assert not (tmp_path / "x").exists()
