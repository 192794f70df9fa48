"""What is killed, interrupted or broken loses nothing."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import QUICK, Bench


def test_killed_driver_loses_no_trial(bench: Bench) -> None:
    args = ["--data", bench.data, *QUICK, "--budget", "900", "--trials", "5", "--out", "runs/k"]
    process = bench.start("tuner.search", *args)
    bench.wait_for("k", lambda records: sum(len(record.reports) for record in records) >= 3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = bench.records("k")
    done = bench.run("tuner.search", "--resume", "runs/k")
    assert done.code == 0, done.err
    after = bench.records("k")
    assert [record.number for record in after] == list(range(5))
    assert {record.state for record in after} <= {"complete", "stopped"}
    for old, new in zip(before, after, strict=False):
        assert new.config == old.config or not old.config
        assert new.reports[: len(old.reports)] == old.reports
        assert len({report["budget"] for report in new.reports}) == len(new.reports)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_interrupted_search_stops_tidily_and_goes_on(bench: Bench, signal_number: int) -> None:
    process = bench.start("tuner.search", "--data", bench.data, *QUICK, "--budget", "1800", "--trials", "3", "--out", "runs/i")
    bench.wait_for("i", lambda records: any(record.reports for record in records))
    os.kill(process.pid, signal_number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "python -m tuner.search --resume runs/i" in out
    done = bench.run("tuner.search", "--resume", "runs/i")
    assert done.code == 0, done.err
    records = bench.records("i")
    assert len(records) == 3
    assert {record.state for record in records} <= {"complete", "stopped"}


def test_ctrl_c_while_ray_starts_and_a_second_one_lose_nothing(bench: Bench) -> None:
    process = bench.start("tuner.search", "--data", bench.data, *QUICK, "--budget", "1800", "--trials", "2", "--out", "runs/c")
    bench.wait_for("c", lambda records: True)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume runs/c" in out + err
    process = bench.start("tuner.search", "--resume", "runs/c")
    bench.wait_for("c", lambda records: any(record.reports for record in records))
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "stopped at once; go on with: python -m tuner.search --resume runs/c"
    done = bench.run("tuner.search", "--resume", "runs/c")
    assert done.code == 0, done.err
    assert {record.state for record in bench.records("c")} <= {"complete", "stopped"}
    assert len(bench.records("c")) == 2


def test_diverged_trial_fails_alone(bench: Bench) -> None:
    space = bench.folder / "space.yaml"
    space.write_text("dimensions:\n  objective.smart.weights.*: {choices: [0.1, 1.0e+38, 0.2]}\n")
    done = bench.search(
        *("--space", "space.yaml", "--searcher", "grid", "--trials", "3", "--budget", "180", "--out", "runs/d"),
        *("--set", "objective.smart.enabled=true", "--set", "objective.smart.step_size=1.0", "--early-stopping", "none"),
    )
    assert done.code == 0, done.err
    by_weight = {record.assignment["objective.smart.weights.*"]: record for record in bench.records("d")}
    assert (by_weight[1e38].state, by_weight[1e38].reason) == ("failed", "diverged")
    assert {by_weight[0.1].state, by_weight[0.2].state} == {"complete"}


def test_time_budget_leaves_a_search_that_goes_on(bench: Bench) -> None:
    args = ("--budget", "3600", "--trials", "40", "--time-budget", "15s", "--out", "runs/t", "--searcher", "random")
    done = bench.search(*args)
    assert done.code == 0, done.err
    assert "go on         python -m tuner.search --resume runs/t" in done.out
    assert len(bench.records("t")) < 40


def test_dead_mlflow_server_does_not_stop_a_search(bench: Bench) -> None:
    mlflow = ("--tracking-uri", "http://127.0.0.1:9", "--register", "bert")
    done = bench.search("--budget", "90", "--trials", "2", *mlflow, "--out", "runs/m")
    assert done.code == 0, done.err
    assert "is not registered as bert; that is done later by: python -m tuner.tracking sync runs/m\n" in done.out
    assert {record.state for record in bench.records("m")} <= {"complete", "stopped"}
    store = f"sqlite:///{bench.folder}/other.db"
    synced = bench.run("tuner.tracking", "sync", "runs/m", "--tracking-uri", store)
    assert synced.code == 0, synced.err
    assert synced.out.endswith("; registered as bert, version 1\n")


def test_reader_of_the_output_may_leave(bench: Bench) -> None:
    args = ["--data", bench.data, *QUICK, "--budget", "180", "--trials", "2", "--out", "runs/head"]
    with bench.start("tuner.search", *args) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=120)
    assert {record.state for record in bench.records("head")} <= {"complete", "stopped"}
    assert len(bench.records("head")) == 2


def test_second_driver_is_refused(bench: Bench) -> None:
    process = bench.start("tuner.search", "--data", bench.data, *QUICK, "--budget", "1800", "--trials", "2", "--out", "runs/two")
    try:
        bench.wait_for("two", lambda records: len(records) > 0)
        done = bench.run("tuner.search", "--resume", "runs/two")
        assert done.code == 2
        assert "another driver" in done.err
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--set", "optimizer.lrr=1"], ["optimizer.lrr", "did you mean lr?"]),
        (["--set", "optimizer.lr=fast"], ["optimizer.lr", "'fast'"]),
        (["--set", "optimizer.lr=3"], ["optimizer.lr", "less than or equal to 1", "3"]),
        (["--space", "empty.yaml"], ["nothing varies"]),
        (["--resume", "nowhere"], ["nowhere", "no search stands here"]),
        (["--data", "nowhere"], ["nowhere", "no such folder"]),
        (["--set", "encoder.name=./nowhere"], ["./nowhere", "no such folder"]),
        (["--trials", "0", "--searcher", "tpee", "--set", "optimizr.lr=1"], ["--trials", "searcher", "optimizr"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_mistakes_exit_2_and_write_nothing(bench: Bench, args: list[str], words: list[str]) -> None:
    (bench.folder / "empty.yaml").write_text("dimensions: {}\n")
    before = sorted(bench.folder.iterdir())
    done = bench.run("tuner.search", *args)
    assert done.code == 2
    assert all(word in done.err for word in words), done.err
    assert "Traceback" not in done.err
    assert sorted(bench.folder.iterdir()) == before


def test_train_and_export_exit_2_too(bench: Bench) -> None:
    for module, args, words in (
        ("trainables.train", ["--config", Path("no.yaml")], "no.yaml: no such file"),
        ("tuner.export", ["nowhere"], "nowhere: no search stands here"),
    ):
        done = bench.run(module, *args)
        assert done.code == 2
        assert words in done.err
        assert "Traceback" not in done.err
