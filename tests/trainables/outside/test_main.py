import csv
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainables.config import TrialConfig
from trainables.data.reading import load_rows
from trainables.outside.__main__ import app
from trainables.paths import parse_assignments

WORDS = ("warm", "dull", "slow", "fine", "bright", "sad", "long", "odd")


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["stars", "text"])
        for number in range(200):
            writer.writerow([1 + number % 5, f"review {number}:\n" + " ".join(WORDS[: number % 8])])
        writer.writerow([3, "review 0:"])
        writer.writerow([3, " "])
    return path


def outside(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def use(result, data: Path) -> TrialConfig:
    """A config with the printed option, as a shell would hand it over."""
    [text] = re.findall(r"^--set (.*)$", result.output, flags=re.MULTILINE)
    return TrialConfig().override({"data.source": str(data), **parse_assignments([text.replace("'", "")])})


def test_texts_of_which_none_has_a_fitting_length_are_told_and_nothing_is_written(small_folder: Path, tmp_path: Path):
    texts, out = tmp_path / "long.csv", tmp_path / "rows.csv"
    texts.write_text("stars,text\n" + "".join(f"{1 + i % 5},{i} {' '.join(WORDS * 40)}\n" for i in range(10)))
    options = ("--data", small_folder, "--texts", texts, "--out", out, "--label-column", "stars", "--choose", "random")
    result = outside(*options, "--labels", "1=0,2=1,3=2,4=3,5=4")
    assert result.exit_code == 2 and not out.exists()
    assert "no text can be chosen" in result.output and "length in words" in result.output
    texts.write_text(texts.read_text() + "1,a film of fine words\n")
    result = outside(*options, "--labels", "1=0,2=1,3=2,4=3,5=4")
    assert result.exit_code == 0 and "\nfewer than the 24 wanted: " in result.output


@pytest.mark.parametrize("choose", ["nearest", "random"])
def test_the_rows_are_what_a_trial_reads(small_folder: Path, reviews: Path, choose: str):
    out = reviews.parent / "rows.csv"
    options = ("--data", small_folder, "--texts", reviews, "--out", out, "--label-column", "stars", "--seed", 3)
    options += ("--labels", "1=0,2=1,3=2,4=3,5=4", "--encoder", "tiny", "--choose", choose, "--per-label", 4)
    result = outside(*options)
    assert result.exit_code == 0, result.output
    assert "200 texts; left out: 1 with an empty cell, 1 known already" in result.output
    rows = load_rows(use(result, small_folder).data).splits["sst"]["train"]
    new = [(text, label) for text, label in zip(rows.sentences[0][24:], rows.labels[24:].tolist(), strict=True)]
    assert len(set(new)) == len(new) >= 15
    assert choose == "random" or [[label for _, label in new].count(label) for label in range(5)] == [4] * 5
    for text, label in new:
        number = int(re.match(r"review (\d+):", text)[1])
        assert label == number % 5
        assert text == " ".join([f"review {number}:", *WORDS[: number % 8]])
    again = outside(*options)
    assert again.exit_code == 2
    assert "there is a file already" in again.output
    kept = out.read_bytes()
    out.unlink()
    assert outside(*options).exit_code == 0
    assert out.read_bytes() == kept


def test_a_language_model_labels(small_folder: Path, reviews: Path, tiny_model: Path):
    out = small_folder / "labelled.csv"
    result = outside(
        "--data",
        small_folder,
        "--texts",
        reviews,
        "--out",
        out,
        "--encoder",
        "tiny",
        "--label-with",
        tiny_model,
        "--per-label",
        2,
    )
    try:
        assert result.exit_code == 0, result.output
        assert "--set data.more_rows.sst='[\"labelled.csv\"]'" in result.output
        counts = [
            int(count) for count in re.findall(r"^label \d \(\w+_sentiment\): (\d+) rows", result.output, flags=re.MULTILINE)
        ]
        assert len(counts) == 5
        assert sum(counts) == 10
        rows = load_rows(use(result, small_folder).data).splits["sst"]["train"]
        assert [rows.labels[24:].tolist().count(label) for label in range(5)] == counts
    finally:
        out.unlink(missing_ok=True)


def test_own_rows_are_no_outside_rows(small_folder: Path, tmp_path: Path):
    own = load_rows(TrialConfig().override({"data.source": str(small_folder)}).data).splits["sst"]["dev"].sentences[0]
    texts = tmp_path / "texts.tsv"
    texts.write_text("text\tlabel\n" + "".join(f"{text.upper()}\t0\n" for text in own) + "something new\t0\n", encoding="utf-8")
    options = ("--texts", texts, "--label-column", "label", "--encoder", "tiny", "--out", tmp_path / "out.csv")
    result = outside("--data", small_folder, *options)
    assert result.exit_code == 0, result.output
    assert f"1 texts; left out: 0 with an empty cell, {len(own)} known already" in result.output


def test_all_mistakes_are_told_at_once(small_folder: Path, reviews: Path):
    result = outside("--data", small_folder, "--texts", reviews, "--out", reviews, "--encoder", "./none", "--label-names", "a")
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 4
    for words in ("there is a file already", "--label-column NAME, or --label-with", "--label-names is for", "no such folder"):
        assert words in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--label-column", "stars"), "no class of sst is known for the labels 5"),
        (("--label-column", "star"), "no column 'star' (did you mean stars?)"),
        (("--label-column", "stars", "--labels", "1=0,2=9,3"), "a whole number from 0 to 4 must stand here, but got '9'"),
        (("--label-column", "stars", "--labels", "1=0,2=9,3"), "but got '3'"),
        (("--label-column", "stars", "--task", "qqp"), "it is one of pairs"),
        (("--label-column", "stars", "--task", "sts2"), "did you mean sts?"),
        (("--label-with", "m", "--label-names", "a,b"), "5 different names must stand here for sst, but got a,b"),
    ],
)
def test_mistakes(small_folder: Path, reviews: Path, options: tuple[str, ...], words: str):
    out = reviews.parent / "out.csv"
    result = outside("--data", small_folder, "--texts", reviews, "--encoder", "tiny", "--out", out, *options)
    assert result.exit_code == 2
    assert words in result.output
    assert not out.exists()


@pytest.mark.parametrize("out", ["reviews.csv/rows.csv", "reviews.csv/new/rows.csv"])
def test_a_file_in_the_way_of_the_folder_is_told_before_any_work(small_folder: Path, reviews: Path, out: str):
    options = ("--data", small_folder, "--texts", reviews, "--out", reviews.parent / out, "--label-column", "stars")
    result = outside(*options, "--choose", "random")
    assert result.exit_code == 2
    assert f"--out {reviews.parent / out}: {reviews} must be a folder, but is a file" in result.output


def test_a_folder_that_cannot_be_written_into_is_told_before_any_work(
    small_folder: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
):
    closed, asked = reviews.parent / "closed", os.access
    closed.mkdir(mode=0o500)
    if os.geteuid() == 0:  # who may write anywhere
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed and asked(path, mode))
    out = closed / "new" / "rows.csv"
    options = ("--data", small_folder, "--texts", reviews, "--out", out, "--label-column", "stars", "--choose", "random")
    result = outside(*options)
    assert result.exit_code == 2
    assert f"--out {out}: the folder {closed} cannot be written into" in result.output
