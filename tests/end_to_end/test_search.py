"""A search as a user runs it, from the command line to MLflow, and what a user does with it afterwards."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.end_to_end.conftest import Bench, Done
from trainables.tasks import CS224N
from tuner.ledger import Ledger

NUM_TRIALS = 5
FULL_BUDGET = 270


@pytest.fixture(scope="module")
def finished(make_bench: Callable[[str], Bench]) -> tuple[Bench, Done]:
    bench = make_bench("finished")
    done = bench.search("--budget", str(FULL_BUDGET), "--trials", str(NUM_TRIALS), "--out", "runs/night1", "--seed", "3")
    assert done.code == 0, done.err
    return bench, done


def search_folder(bench: Bench) -> Path:
    return bench.folder / "runs" / "night1"


def test_every_trial_ends_once_and_the_winner_had_its_full_budget(finished: tuple[Bench, Done]) -> None:
    bench, done = finished
    records = bench.records("night1")
    assert [record.number for record in records] == list(range(NUM_TRIALS))
    assert set(Counter(record.state for record in records)) <= {"complete", "stopped"}
    complete = [record for record in records if record.state == "complete"]
    assert complete
    assert all(record.budget_used == FULL_BUDGET for record in complete)
    winner = max(complete, key=lambda record: record.score)
    assert f"exported trial {winner.number}" in done.out


def test_output_names_each_thing_written_and_its_command(finished: tuple[Bench, Done]) -> None:
    _, done = finished
    for command in (
        "python -m reports.leaderboard runs/night1",
        "python -m tuner.tracking serve ",
        "python -m trainables.train --config runs/night1/best/config.yaml",
        "python -m tuner.export runs/night1 --verify",
        "python -m trainables.predict runs/night1/best --task sts sentence1 sentence2",
        "python -m tuner.search --resume runs/night1 --trials +8",
    ):
        assert command in done.out
    assert done.err == ""


def test_ledger_holds_the_lineage(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    header = Ledger.open(search_folder(bench)).header
    assert set(header["data_hashes"]) == {path.name for path in bench.data.iterdir()}
    assert header["lineage"]["packages"]["torch"].startswith("2.")
    assert len(header["encoder_sha256"]) == 64
    for record in bench.records("night1"):
        assert record.lineage["data_hashes"] == header["data_hashes"]
        assert record.lineage["hardware"]["num_cpus"] >= 1
    assert len({record.config["seed"] for record in bench.records("night1")}) == NUM_TRIALS


def test_only_weights_that_may_be_wanted_are_kept(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    folders = [search_folder(bench) / "trials" / f"{number:04d}" for number in range(NUM_TRIALS)]
    assert not any((folder / "checkpoints").exists() for folder in folders)
    assert sum((folder / "best").exists() for folder in folders) == 4
    assert all((folder / "log.txt").read_text() for folder in folders)


def test_export_loads_in_plain_transformers(finished: tuple[Bench, Done]) -> None:
    from transformers import AutoModel, AutoTokenizer

    bench, _ = finished
    best = search_folder(bench) / "best"
    encoder, info = AutoModel.from_pretrained(best / "encoder", output_loading_info=True)
    assert not info["missing_keys"] - {"pooler.dense.weight", "pooler.dense.bias"}
    assert not info["unexpected_keys"]
    tokens = AutoTokenizer.from_pretrained(best / "encoder")("a warm film", return_tensors="pt")
    with torch.no_grad():
        assert torch.isfinite(encoder(**tokens).last_hidden_state).all()


def test_export_has_metrics_lineage_card_and_prediction_files(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    best = search_folder(bench) / "best"
    metrics = json.loads((best / "metrics.json").read_text())
    winner = bench.records("night1")[metrics["trial"]]
    assert metrics["best_report"]["score"] == winner.score
    assert json.loads((best / "lineage.json").read_text())["seed"] == winner.config["seed"]
    assert f"{winner.score:.4f}" in (best / "README.md").read_text()
    headers = {"sst": "Predicted_Sentiment", "para": "Predicted_Is_Paraphrase", "sts": "Predicted_Similiary"}
    for stem, header in headers.items():
        for split, num_rows in (("dev", 40), ("test", 10)):
            lines = (best / "predictions" / f"{stem}-{split}-output.csv").read_text().splitlines()
            assert lines[0] == f"id \t {header} "
            assert len(lines) == 1 + num_rows
            assert all(line.count(" , ") == 1 and line.endswith(" ") for line in lines[1:])


def test_best_config_trains_again_to_the_same_score(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    done = bench.run("trainables.train", "--config", "runs/night1/best/config.yaml", "--out", "again")
    assert done.code == 0, done.err
    score = json.loads((search_folder(bench) / "best" / "metrics.json").read_text())["best_report"]["score"]
    assert f"best score {score:.4f}" in done.out
    again = json.loads((bench.folder / "again" / "best" / "metrics.json").read_text())
    assert again["score"] == score


def test_best_is_verified_and_reproduced(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    score = json.loads((search_folder(bench) / "best" / "metrics.json").read_text())["best_report"]["score"]
    done = bench.run("tuner.export", "runs/night1", "--verify")
    assert done.code == 0, done.err
    assert f"recorded score {score:.6f}\nscore now      {score:.6f}   (the same)" in done.out
    script = search_folder(bench) / "best" / "reproduce.sh"
    environment = {**bench.environment, "PYTHON": sys.executable}
    trained = subprocess.run([script, "--quiet"], capture_output=True, text=True, check=True, cwd="/", env=environment)
    assert f"best score {score:.4f}" in trained.stdout


def test_best_says_of_dev_and_test_what_its_prediction_files_say(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    for task in CS224N.tasks:
        for split, suffix in (("dev", "dev"), ("test", "test-student")):
            rows = bench.data / f"{task.file_stem}-{suffix}.csv"
            done = bench.run("trainables.predict", "runs/night1/best", "--task", task.name, "--file", rows)
            file = search_folder(bench) / "best" / "predictions" / f"{task.prediction_name}-{split}-output.csv"
            assert done.code == 0, done.err
            assert done.out == file.read_text()


def test_export_again_gives_the_same_files(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    best = search_folder(bench) / "best"
    before = {path.relative_to(best): path.read_bytes() for path in best.rglob("*") if path.is_file()}
    done = bench.run("tuner.export", "runs/night1")
    assert done.code == 0, done.err
    assert {path.relative_to(best): path.read_bytes() for path in best.rglob("*") if path.is_file()} == before


def test_mlflow_holds_one_parent_and_one_child_a_trial(finished: tuple[Bench, Done]) -> None:
    from mlflow import MlflowClient

    bench, _ = finished
    client = MlflowClient(f"sqlite:///{bench.folder / 'runs' / 'mlflow.db'}")
    runs = [run for experiment in client.search_experiments() for run in client.search_runs([experiment.experiment_id])]
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.data.tags["mlflow.runName"] for run in parents] == ["night1"]
    children = {int(run.data.tags["tritune.trial"]): run for run in runs if "mlflow.parentRunId" in run.data.tags}
    records = bench.records("night1")
    assert sorted(children) == [record.number for record in records]
    for record in records:
        run = children[record.number]
        assert run.info.status == "FINISHED"
        assert run.data.tags["tritune.state"] == record.state
        history = client.get_metric_history(run.info.run_id, "score")
        assert [(point.step, point.value) for point in history] == [(r["budget"], r["score"]) for r in record.reports]
    assert {run.info.status for run in parents} == {"FINISHED"}


def test_leaderboard_command_ranks_the_winner_first(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    done = bench.run("reports.leaderboard", "runs/night1", "--json")
    assert done.code == 0, done.err
    winner = json.loads((search_folder(bench) / "best" / "metrics.json").read_text())["trial"]
    assert json.loads(done.out)["rows"][0]["trial"] == winner


def test_settings_are_there_for_people(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    settings = yaml.safe_load((search_folder(bench) / "settings.yaml").read_text())
    assert settings["settings"]["trials"] == NUM_TRIALS
    assert settings["config"]["budget_examples"] == FULL_BUDGET


def test_out_of_another_search_is_refused_and_left_alone(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    before = (search_folder(bench) / "study.db").read_bytes()
    done = bench.search("--out", "runs/night1")
    assert done.code == 2
    assert "--resume runs/night1" in done.err
    assert (search_folder(bench) / "study.db").read_bytes() == before


def test_trials_are_added_to_a_finished_search(finished: tuple[Bench, Done]) -> None:
    bench, _ = finished
    before = bench.records("night1")
    done = bench.run("tuner.search", "--resume", "runs/night1", "--trials", "+2", "--quiet")
    assert done.code == 0, done.err
    after = bench.records("night1")
    assert after[: len(before)] == before
    assert [record.number for record in after] == list(range(NUM_TRIALS + 2))
    assert {record.state for record in after} <= {"complete", "stopped"}


def test_resume_refuses_changed_data(finished: tuple[Bench, Done], tmp_path: Path) -> None:
    bench, _ = finished
    file = bench.data / "sts-train.csv"
    whole = file.read_bytes()
    try:
        file.write_bytes(whole.replace(b"\t0.0\n", b"\t0.1\n", 1))
        done = bench.run("tuner.search", "--resume", "runs/night1", "--trials", "+1")
    finally:
        file.write_bytes(whole)
    assert done.code == 3
    assert "sts-train.csv" in done.err
