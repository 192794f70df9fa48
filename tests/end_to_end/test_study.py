"""A study from the command line: teachers first, their students on them, the paper's figures beside ours."""

import json
from collections.abc import Callable

import pytest

from tests.end_to_end.conftest import Bench, Done
from trainables.paths import read_yaml

SMALL = ["--budget", "48", "--set", "num_reports=2", "--set", "data.max_tokens=48", "--set", "encoder.name=tiny"]


@pytest.fixture(scope="module")
def merged(make_bench: Callable[[str], Bench]) -> tuple[Bench, Done]:
    bench = make_bench("merged")
    study = ["--study", "studentbert.model_merging", "--rows", "siar_rr_mm", "--seeds", "1", "--out", "runs/mm"]
    done = bench.run("tuner.search", "--data", bench.data, *study, *SMALL)
    assert done.code == 0, done.err
    return bench, done


def test_a_student_is_trained_after_its_teachers_and_on_them(merged: tuple[Bench, Done]) -> None:
    bench, _ = merged
    records = bench.records("mm")
    rows = [record.assignment["row"] for record in records]
    assert rows == ["teacher_sst", "teacher_para", "teacher_sen", "siar_rr_mm"]
    assert {record.state for record in records} == {"complete"}
    student = records[3]
    assert student.started is not None
    assert {record.config["seed"] for record in records} == {student.config["seed"]}
    config = read_yaml(bench.folder / "runs" / "mm" / "trials" / "0003" / "best" / "config.yaml")
    folders = config["objective"]["distill"]["teachers"]
    assert folders == {
        task: str(bench.folder / "runs" / "mm" / "trials" / f"{number:04d}" / "best")
        for number, task in enumerate(("sst", "qqp", "sts"))
    }


def test_the_paper_stands_beside_it(merged: tuple[Bench, Done]) -> None:
    bench, done = merged
    assert "python -m reports.leaderboard runs/mm --beside-paper" in done.out
    assert "python -m tuner.search --resume runs/mm --seeds 2" in done.out
    told = bench.run("reports.leaderboard", "runs/mm", "--beside-paper", "--json")
    tree = json.loads(told.out)
    assert tree["section"] == "studentbert 5.6"
    assert [row["printed"].get("overall") for row in tree["rows"]] == [None, None, None, 0.794]
    assert all(len(row["ours"]["sst_accuracy"]) == 1 for row in tree["rows"])


def test_what_a_study_decides_by_itself_is_refused(bench: Bench) -> None:
    done = bench.run("tuner.search", "--study", "best_fit.pooling", "--space", "basics", "--trials", "3")
    assert done.code == 2
    assert "--space: a study has its own tasks" in done.err and "--trials: a study has its own tasks" in done.err
    alone = bench.run("tuner.search", "--seeds", "3")
    assert alone.code == 2 and "--seeds: is of a study; --study NAME must be given with it" in alone.err
