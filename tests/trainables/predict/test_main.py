"""The model is a tiny one as it begins, with heads drawn wide, so that decisions differ and nothing has to train."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from trainables.config import TrialConfig
from trainables.data.tokens import tokenise
from trainables.encoder_files import find_encoder
from trainables.evaluation import evaluate
from trainables.model import files as model_files
from trainables.model.files import load_model, save_model
from trainables.model.multitask import MultitaskModel
from trainables.predict.__main__ import app
from trainables.predictions import prediction_file, softmax
from trainables.tasks import CS224N, Task
from trainables.threads import torch_threads

PAIR = ("a warm film", "a cold film")


def export(folder: Path, data: Path, **changes: Any) -> Path:
    settings = {"data.source": str(data), "encoder.name": "tiny"}
    config = TrialConfig().override(settings | {path.replace("__", "."): value for path, value in changes.items()})
    files, generator = find_encoder("tiny"), torch.Generator().manual_seed(3)
    model = MultitaskModel(config, files, generator)
    with torch.no_grad():
        for weight in model.heads.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) / 4)
    save_model(model, files, folder / "best")
    return folder / "best"


@pytest.fixture(scope="module")
def model(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("model"), small_folder)


def predict(*args: object, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)
    return done.exit_code, done.stdout, done.stderr


def dev_file(data: Path, task: Task) -> Path:
    return data / f"{task.file_stem}-dev.csv"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data__normalise_text": True, "data__max_tokens": 12},
        {"encoder__pair_encoding": "bi", "encoder__cls_tokens": 2},
        {"encoder__copies": "singles_and_pairs"},
        {"encoder__lora__rank": 2},
    ],
    ids=lambda changes: "-".join(changes) or "default",
)
def test_rows_of_dev_give_the_exports_prediction_files(
    small_folder: Path, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = shutil.copytree(small_folder, tmp_path / "data")  # texts that normalising changes
    for task in CS224N.tasks:
        file = dev_file(loud, task)
        file.write_text(file.read_text().replace("film", "FILM, it's").replace("what", "What?"))
    best = export(tmp_path, loud, **changes)
    config, loaded = load_model(best)
    store = tokenise(config.data, config.encoder, config.tasks)
    with torch_threads(config.num_threads):  # as an export does
        evaluation = evaluate(loaded, store)
    monkeypatch.chdir("/")
    for task in CS224N.tasks:
        ids = store.table(task.name, "dev").ids
        code, said, _ = predict(best, "--task", task.name, "--file", dev_file(loud, task))
        assert code == 0
        assert said == prediction_file(task, ids, evaluation.predictions[task.name])
        _, said, _ = predict(best, "--task", task.name, "--file", dev_file(loud, task), "--json")
        rows = [json.loads(line) for line in said.splitlines()]
        assert [row["id"] for row in rows] == ids
        assert [row["prediction"] for row in rows] == evaluation.predictions[task.name].tolist()
        if task.target == "classes":
            expected = softmax(evaluation.outputs[task.name].astype(np.float64))
            np.testing.assert_allclose([row["probabilities"] for row in rows], expected)
        if task.target == "binary":
            assert [row["probability"] > 0.5 for row in rows] == (evaluation.outputs[task.name] > 0).tolist()
    assert len(set(evaluation.predictions["sts"].tolist())) > 5


@pytest.mark.parametrize("task", CS224N.tasks, ids=lambda task: task.name)
def test_sentences_on_the_command_line_are_a_row(model: Path, task: Task) -> None:
    given = PAIR[: len(task.sentence_columns)]
    code, said, _ = predict(model.parent, "--task", task.name, *given, "--json")
    assert code == 0
    told = json.loads(said)
    file = f"{','.join(task.sentence_columns)}\n{','.join(given)}\n"
    code, said, _ = predict(model, "--task", task.name, "--file", "-", "--json", stdin=file)
    assert json.loads(said) == {"id": "1", **told}
    code, said, _ = predict(model, "--task", task.name, *given)
    first = {"classes": told["prediction"], "binary": told.get("name"), "score": f"{told['prediction']:.4f}"}[task.target]
    assert said.startswith(f"prediction: {first}")


@pytest.mark.parametrize(
    ("header", "separator", "ids"),
    [
        ("id,sentence1,sentence2", ",", True),
        ("sentence2\tsentence1\textra", "\t", False),
        ("\tid\tsentence1\tsentence2", "\t", True),
    ],
)
def test_commas_tabs_ids_and_columns_in_any_order(model: Path, tmp_path: Path, header: str, separator: str, ids: bool) -> None:
    columns = header.split(separator)
    rows = [{"id": f"r{n}", "sentence1": f"a {n} film", "sentence2": "what, is it?", "": "0", "extra": "x"} for n in range(3)]
    with (tmp_path / "rows.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([columns, *([row[column] for column in columns] for row in rows)])
    code, said, err = predict(model, "--task", "sts", "--file", tmp_path / "rows.csv")
    assert code == 0, err
    lines = said.splitlines()
    assert lines[0] == "id \t Predicted_Similiary "
    assert [line.split(" , ")[0] for line in lines[1:]] == (["r0", "r1", "r2"] if ids else ["1", "2", "3"])
    one = json.loads(predict(model, "--task", "sts", "a 1 film", "what, is it?", "--json")[1])
    assert float(lines[2].split(" , ")[1]) == pytest.approx(one["prediction"], abs=1e-5)


def test_a_sentence_alone_in_a_row_may_hold_what_separates(model: Path) -> None:
    code, said, _ = predict(model, "--task", "sst", "--file", "-", stdin='sentence\nslow but warm, a film\n"with ""quotes"""\n')
    assert code == 0 and len(said.splitlines()) == 3


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_lines_end_as_in_a_training_file(model: Path, end: str) -> None:
    rows = end.join(["id\tsentence", "r7\ta film", "r8\ta", ""])
    code, said, err = predict(model, "--task", "sst", "--file", "-", stdin=rows.encode())
    assert code == 0, err
    assert [line.split(" , ")[0] for line in said.splitlines()[1:]] == ["r7", "r8"]


def test_out_is_a_new_file_with_what_would_be_printed(model: Path, small_folder: Path, tmp_path: Path) -> None:
    args = (model, "--task", "sst", "--file", dev_file(small_folder, CS224N.by_name["sst"]))
    out = tmp_path / "new" / "rows.csv"
    code, said, _ = predict(*args, "--out", out)
    assert (code, said) == (0, f"10 predictions in {out}\n")
    assert out.read_text() == predict(*args)[1]
    assert [path.name for path in out.parent.iterdir()] == ["rows.csv"]


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise AssertionError(f"{folder} was loaded")

    monkeypatch.setattr(model_files, "load_model", refuse)


ROWS = "id,sentence1,sentence2\na,b,c\n"
MORE, TAKEN = "stdin: and 21 more", "--out /: there is a file already"


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("args", "stdin", "words"),
    [
        (["--task", "stss", *PAIR], None, ["--task stss: no such task (did you mean sts?); this model's are sst, qqp, sts"]),
        (["--task", "sts", "a"], None, ["2 sentences (sentence1, sentence2) must stand here, or --file ROWS, but got 1"]),
        (["--task", "sst", *PAIR], None, ["1 sentence (sentence) must stand here, or --file ROWS, but got 2"]),
        (["--task", "sst"], None, ["but got none"]),
        (["--task", "qqp", "a", " "], None, ["sentence2: a text must stand here, but it is empty"]),
        (["--task", "sst", "\udcff"], None, ["sentence: UTF-8 must stand here"]),
        (
            ["--task", "sst", "a", "--file", "-", "--out", "/"],
            ROWS,
            ["--file goes without sentences, but got 1", TAKEN],
        ),
        (["--task", "sst", "a", "--out", "x"], None, ["--out is for --file"]),
        (["--task", "sts", "--file", "-"], "id,sentence1\na,b\n", ["stdin: no column 'sentence2' (did you mean sentence1?)"]),
        (
            ["--task", "sts", "--file", "-"],
            f"{ROWS}d,e\nf,g,h\n,i,j\n",
            ["stdin line 3, column sentence2: empty", "line 5, column id"],
        ),
        (["--task", "sts", "--file", "-"], f"{ROWS}d,e,f,g\n", ["stdin line 3: 4 cells under a header of 3"]),
        (["--task", "sts", "--file", "-"], f'{ROWS}d,"e,f\n', ["stdin line 3: a quote is opened in this row and never closed"]),
        (["--task", "sts", "--file", "-"], b"id,sentence1,sentence2\na,\xff,c\n", ["stdin line 2: not UTF-8"]),
        (["--task", "sts", "--file", "-"], "", ["stdin: the file is empty"]),
        (["--task", "sts", "--file", "-"], "id,sentence1,sentence2\n", ["stdin: no row that can be used"]),
        (["--task", "sts", "--file", "/no/such"], None, ["--file /no/such: cannot be read (No such file or directory)"]),
        (["--task", "sst", "--file", "-"], f"{'s' * 140_000}\na\n", ["stdin line 1: field larger than field limit (131072)"]),
        (["--task", "sst", "--file", "-"], "text\ra film\r", ["stdin: no column 'sentence'; its columns are text"]),
        (
            ["--task", "sts", "--file", "-"],
            f"{ROWS}{'x,,y' + chr(10)}" * 1 + "x,,y\n" * 30,
            ["stdin line 3, column", "stdin: and 21 more"],
        ),
    ],
)
def test_a_mistake_is_told_before_anything_is_loaded(
    model: Path, args: list[str], stdin: str | bytes | None, words: list[str]
) -> None:
    code, said, err = predict(model, *args, stdin=stdin)
    assert (code, said) == (2, "")
    assert all(word in err for word in words), err


@pytest.mark.usefixtures("nothing_is_loaded")
def test_nothing_that_is_there_is_written_over(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    code, _, err = predict(model, "--task", "sts", "--file", "-", "--out", tmp_path / "mine.csv", stdin=ROWS)
    assert code == 2 and f"--out {tmp_path / 'mine.csv'}: there is a file already" in err
    assert (tmp_path / "mine.csv").read_text() == "mine"


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(("folder", "words"), [("no", "no such folder"), (".", "no exported model stands here")])
def test_what_is_no_export_is_refused(tmp_path: Path, folder: str, words: str) -> None:
    code, _, err = predict(tmp_path / folder, "--task", "sts", *PAIR)
    assert code == 2 and words in err and "python -m tuner.export makes one" in err


def test_tasks_of_ones_own(tmp_path: Path) -> None:
    fruit = {"name": "fruit", "title": "Fruit", "sentence_columns": ["text"], "label_column": "kind", "target": "classes"}
    fruit |= {"num_classes": 3, "metric": "accuracy", "file_stem": "fruit", "separator": "comma", "id_column": None}
    same = {"name": "same", "title": "Same", "sentence_columns": ["one", "other"], "label_column": "same", "target": "binary"}
    same |= {"metric": "accuracy", "file_stem": "same", "id_column": "name"}
    config = TrialConfig.parse({"tasks": {"tasks": [fruit, same]}, "encoder": {"name": "tiny"}})
    save_model(MultitaskModel(config, find_encoder("tiny"), torch.Generator()), find_encoder("tiny"), tmp_path)
    code, said, _ = predict(tmp_path, "--task", "fruit", "a pear", "--json")
    told = json.loads(said)
    assert code == 0 and "name" not in told and len(told["probabilities"]) == 3
    code, said, _ = predict(tmp_path, "--task", "same", "--file", "-", stdin="one\tname\tother\na\tx\tb\n")
    assert code == 0 and said.splitlines()[1].startswith("x , ")


def test_the_command_runs_from_any_folder(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainables.predict", str(model), "--task", "qqp", "--", "-5 degrees", "cold"]
    path = {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ, **path})
    assert done.stdout.startswith("prediction: ") and "probability: 0." in done.stdout
    assert done.stderr == "" and list(tmp_path.iterdir()) == []
