import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.paths import write_yaml
from trainables.tasks import SST, STS
from trainables.train import app
from trainables.trainer import Trainer


@pytest.fixture
def config_file(small_config: TrialConfig, tmp_path: Path) -> Path:
    write_yaml(small_config.to_tree(), tmp_path / "config.yaml")
    return tmp_path / "config.yaml"


def train(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_it_trains_shows_a_line_a_report_and_keeps_what_it_says(config_file: Path, small_config: TrialConfig) -> None:
    out = config_file.parent / "out"
    result = train("--config", config_file, "--out", out)
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"^ +[123] +\d+ +0\.\d{4}", result.output, flags=re.MULTILINE)) == 3
    metrics = json.loads((out / "metrics.json").read_text())
    assert f"best score {metrics['best']['score']:.4f}, report {metrics['best']['report']} of 3" in result.output
    trainer = Trainer(small_config)
    scores = [trainer.advance()["score"] for _ in range(3)]
    assert [report["score"] for report in metrics["reports"]] == scores
    assert metrics["best"]["score"] == max(scores)


def test_the_config_of_its_best_model_gives_the_same_score_again(config_file: Path) -> None:
    out = config_file.parent / "out"
    first = train("--config", config_file, "--out", out, "--quiet")
    second = train("--config", out / "best" / "config.yaml", "--quiet")
    assert first.exit_code == second.exit_code == 0
    assert first.output == second.output
    assert first.output.startswith("best score")


def test_tasks_of_ones_own(small_folder: Path, tmp_path: Path) -> None:
    """Two of the three and two others: one with commas and no ids, one of seven classes."""
    data = tmp_path / "data"
    shutil.copytree(small_folder, data)
    for split, num_rows in (("train", 20), ("dev", 6)):
        lines = [f'"a film, number {row}",{row % 2}' for row in range(num_rows)]
        (data / f"films-{split}.csv").write_text("\n".join(["text,good", *lines, ""]), encoding="utf-8")
        lines = [f"{row}\twhat is {row}\t{row % 7}" for row in range(num_rows)]
        (data / f"days-{split}.csv").write_text("\n".join(["id\tquestion\tday", *lines, ""]), encoding="utf-8")
    films = {"name": "films", "title": "Films", "sentence_columns": ["text"], "label_column": "good", "target": "binary"}
    films |= {"metric": "accuracy", "file_stem": "films", "separator": "comma", "id_column": None}
    days = {"name": "days", "title": "Days", "sentence_columns": ["question"], "label_column": "day", "target": "classes"}
    days |= {"num_classes": 7, "metric": "accuracy", "file_stem": "days"}
    ours = [STS.model_dump(mode="json"), films, SST.model_dump(mode="json"), days]
    tasks = {"tasks": ours, "score": "(films_accuracy + days_accuracy + sts_pearson) / 3"}
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump(tasks), encoding="utf-8")
    sets = ("encoder.name=tiny", "data.batch_size=4", "budget_examples=48", "num_reports=2", "objective.smart.enabled=true")
    options = [option for text in sets for option in ("--set", text)]
    result = train("--tasks", tmp_path / "tasks.yaml", "--data", data, "--out", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert re.search(r"score +sts +films +sst +days +loss", result.output)
    [_, last] = json.loads((tmp_path / "out" / "metrics.json").read_text())["reports"]
    assert last["score"] == pytest.approx((last["films_accuracy"] + last["days_accuracy"] + last["sts_pearson"]) / 3)
    assert {"loss_sts", "loss_films", "loss_sst", "loss_days"} <= set(last)
    again = train("--config", tmp_path / "out" / "best" / "config.yaml", "--quiet")
    assert f"best score {last['score']:.4f}" in again.output
    refused = train("--tasks", tmp_path / "tasks.yaml", *options)
    assert refused.exit_code == 2
    assert "sample: it has rows for sst, qqp, sts as they are by default, not for films, days" in refused.output


def test_data_and_set_change_the_config(small_folder: Path) -> None:
    result = train("--data", small_folder, "--set", "optimizer.lr=3e-5", "--print-config")
    tree = yaml.safe_load(result.output)
    assert tree == TrialConfig().override({"data.source": str(small_folder), "optimizer.lr": 3e-5}).to_tree()


def test_folders_are_written_down_as_absolute_paths(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = yaml.safe_load(config_file.read_text())
    folder = config_file.parent
    for name, source in (("rows", Path(tree["data"]["source"])), ("bert", find_encoder("tiny").folder)):
        shutil.copytree(source, folder / name)
    monkeypatch.chdir(folder)
    result = train("--config", "config.yaml", "--data", "rows", "--set", "encoder.name=bert", "--out", "out", "--quiet")
    assert result.exit_code == 0, result.output
    monkeypatch.chdir("/")
    for file in (folder / "out" / "config.yaml", folder / "out" / "best" / "config.yaml"):
        written = yaml.safe_load(file.read_text())
        assert (written["data"]["source"], written["encoder"]["name"]) == (str(folder / "rows"), str(folder / "bert"))
    assert train("--config", folder / "out" / "best" / "config.yaml", "--quiet").output == result.output


def test_a_run_that_is_done_or_stopped_is_gone_on_with(config_file: Path) -> None:
    whole, part = config_file.parent / "whole", config_file.parent / "part"
    train("--config", config_file, "--out", whole)
    train("--config", config_file, "--out", part)
    for name in ("report-0003", "report-0002"):  # as if it had been killed before these
        (part / "checkpoints" / name).rename(config_file.parent / name)
    (part / "metrics.json").unlink()
    result = train("--resume", "--out", part)
    assert result.exit_code == 0, result.output
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (whole, part))
    assert [report["score"] for report in one["reports"]] == [report["score"] for report in two["reports"]]
    assert train("--resume", "--out", whole).exit_code == 0


def test_every_mistake_is_in_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = train("--set", "optimizer.lr=9", "--set", "nothing", "--set", "seed=-1", "--out", tmp_path)
    assert result.exit_code == 2
    for part in ("optimizer.lr: ", "PATH=VALUE", "seed: ", "not empty"):
        assert part in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "--resume needs --out"),
        (["--resume", "--out", "nothing"], "there is no run to go on with"),
        (["--config", "nothing.yaml"], "nothing.yaml: no such file"),
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--data", "smaple"], "no such folder (did you mean sample?)"),
        (["--set", "encoder.name=/nowhere"], "/nowhere: no such folder"),
        (["--set", "optimizer.lrr=1"], "did you mean lr"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_a_mistake_ends_with_2(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = train(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_resuming_with_another_config_is_refused(config_file: Path) -> None:
    out = config_file.parent / "out"
    train("--config", config_file, "--out", out)
    result = train("--config", config_file, "--set", "seed=99", "--resume", "--out", out)
    assert result.exit_code == 2
    assert "config seed: 7, 99" in result.stderr


def test_divergence_ends_with_1(config_file: Path) -> None:
    result = train(
        "--config",
        config_file,
        "--set",
        "optimizer.lr=1.0",
        "--set",
        "optimizer.max_grad_norm=null",
        "--set",
        "balancing.loss_weights.sst=1e39",
    )
    assert result.exit_code == 1
    assert "diverged: step 1" in result.stderr


def test_ctrl_c_says_how_to_go_on(config_file: Path) -> None:
    out = config_file.parent / "out"
    command = [sys.executable, "-m", "trainables.train", "--config", str(config_file), "--out", str(out)]
    command += ["--set", "budget_examples=100000", "--set", "num_reports=1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    while not (out / "checkpoints" / "report-0001").is_dir():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"python -m trainables.train --resume --out {out}" in errors
