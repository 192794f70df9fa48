import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.tuner.trained_search import small_data, train_search
from trainables.inputs import DataChangedError
from trainables.parts import ConfigError
from trainables.trainer import Diverged, Trainer
from tuner.export import app
from tuner.verification import Verification, look_at, train_again

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A search, and its data."""
    folder = tmp_path_factory.mktemp("verified")
    data = small_data(folder / "data")
    return train_search(folder / "search", data), data


@pytest.fixture
def search(made: tuple[Path, Path], tmp_path: Path) -> Path:
    return shutil.copytree(made[0], tmp_path / "search")


def run(*args: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    return done.exit_code, done.stdout, done.stderr


def record(best: Path) -> dict[str, Any]:
    return json.loads((best / "metrics.json").read_text())


def note(best: Path, **changes: Any) -> None:
    (best / "metrics.json").write_text(json.dumps(record(best) | changes))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_trained_again_it_scores_the_same(search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    before = contents(tmp_path)
    code, said, err = run(search, "--verify")
    assert code == 0, err
    score = record(search / "best")["best_report"]["score"]
    assert f"recorded score {score:.6f}" in said and f"score now      {score:.6f}   (the same)" in said
    assert "interval       none" in said and "not as recorded" not in said
    assert [f"report {number}/3" in said for number in (1, 2, 3)] == [True] * 3
    assert contents(tmp_path) == before
    assert run(search / "best", "--verify")[0] == 0


def test_the_score_now_is_of_training_not_of_the_weights(search: Path) -> None:
    heads = search / "best" / "heads.safetensors"
    save_file({name: -tensor for name, tensor in load_file(heads).items()}, heads)
    found = train_again(look_at(search))
    assert found.now == found.recorded and found.is_verified


@pytest.mark.parametrize(
    ("low", "high", "off", "code", "words"),
    [
        (-0.1, 0.1, 0.0, 0, "inside"),
        (0.1, 0.2, 0.0, 0, "outside, as that of one training may"),
        (-0.1, 0.1, 0.01, 0, "inside"),
        (0.1, 0.2, 0.01, 1, "OUTSIDE"),
        (-0.2, -0.1, 0.01, 1, "OUTSIDE"),
    ],
)
def test_it_must_be_the_recorded_score_or_lie_inside_the_interval_of_the_mean(  # noqa: PLR0917 - a table
    search: Path, low: float, high: float, off: float, code: int, words: str
) -> None:
    report = record(search / "best")["best_report"]
    score = report["score"]
    interval = {"interval": [score + low, score + high], "interval_of": {"trial": 3, "trainings": [15, 16, 17], "mean": 0.5}}
    note(search / "best", best_report=report | {"score": score + off}, **interval)
    done, said, _ = run(search, "--verify")
    assert done == code
    assert f"{score + low:.6f} to {score + high:.6f}, of the mean of 3 trainings: the score lies {words}\n" in said


def test_another_score_is_told_and_fails(search: Path) -> None:
    report = record(search / "best")["best_report"]
    note(search / "best", best_report=report | {"score": report["score"] + 0.01})
    code, said, _ = run(search, "--verify")
    assert code == 1 and "(-0.010000)" in said


def test_another_config_scores_something_else(search: Path) -> None:
    file = search / "best" / "config.yaml"
    tree = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(tree | {"seed": tree["seed"] + 1}))
    assert run(search, "--verify")[0] == 1


def test_a_trial_that_was_stopped_is_trained_as_far_as_it_was(made: tuple[Path, Path], tmp_path: Path) -> None:
    folder = train_search(tmp_path / "stopped", made[1], stop_after=2)
    report = record(folder / "best")["best_report"]
    lines: list[str] = []
    found = train_again(look_at(folder), say=lines.append)
    assert (found.recorded, found.now) == (report["score"], report["score"])
    assert len(lines) == 1 + report["report"] <= 3


@pytest.mark.parametrize(("tolerance", "is_so"), [(1e-6, False), (5e-3, True)])
def test_coarser_numbers_may_differ_more(tolerance: float, is_so: bool) -> None:
    assert Verification(0.5, 0.502, None, tolerance).is_verified is is_so


def test_training_that_diverges_confirms_nothing(search: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(self: Trainer) -> None:
        raise Diverged("step 1: no numbers")

    monkeypatch.setattr(Trainer, "advance", diverge)
    note(search / "best", interval=[0, 1])
    code, said, _ = run(search, "--verify")
    assert code == 1 and "diverged: step 1" in said and "OUTSIDE" in said


def test_changed_data_is_refused_by_name(made: tuple[Path, Path], search: Path) -> None:
    file = made[1] / "sts-train.csv"
    whole = file.read_bytes()
    try:
        file.write_bytes(whole.replace(b"\t0.0\n", b"\t0.1\n", 1))
        code, said, err = run(search, "--verify")
        with pytest.raises(DataChangedError):
            look_at(search)
    finally:
        file.write_bytes(whole)
    assert (code, said) == (3, "")
    assert err.startswith("sts-train.csv: the data have changed: sha256 was ")


def test_another_encoder_is_refused_by_name(search: Path) -> None:
    file = search / "best" / "lineage.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"encoder_sha256": "0" * 64}))
    code, _, err = run(search, "--verify")
    assert code == 3 and "the weights have changed" in err


def test_another_machine_is_told(search: Path) -> None:
    file = search / "best" / "lineage.json"
    tree = json.loads(file.read_text())
    tree["hardware"]["cpu"], tree["packages"]["torch"], tree["hardware"]["host"] = "MOS 6502", "0.1", "elsewhere"
    file.write_text(json.dumps(tree))
    _, said, _ = run(search, "--verify")
    told = [line for line in said.splitlines() if line.startswith("not as recorded: ")]
    assert [line.split(": ")[1] for line in told] == ["packages.torch", "hardware.cpu"]
    assert "'MOS 6502'" in told[1]


def test_data_that_have_moved_are_named(made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_data(tmp_path / "data")
    shutil.copy(data / "ids-sst-dev.csv", data / "more.csv")
    search = train_search(tmp_path / "search", data, data__more_rows={"sst": [str(data / "more.csv")]})
    data.rename(tmp_path / "moved")
    code, _, err = run(search, "--verify")
    assert code == 2 and f"{data}: no such folder" in err
    monkeypatch.chdir(tmp_path)
    assert run(search, "--verify", "--data", "moved")[0] == 0
    shutil.copytree(made[1], tmp_path / "other")
    (tmp_path / "other" / "more.csv").write_text("id\tsentence\tsentiment\na\tb\t1\n")
    code, _, err = run(search, "--verify", "--data", "other")
    assert code == 3 and err.startswith("more.csv: the data have changed")


@pytest.fixture
def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Trainer, *_: object, **__: object) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr(Trainer, "__init__", refuse)


def without_metrics(best: Path) -> None:
    (best / "metrics.json").unlink()


def without_score(best: Path) -> None:
    note(best, best_report={"report": 3})


def with_a_list(best: Path) -> None:
    (best / "lineage.json").write_text("[]")


def with_odd_sums(best: Path) -> None:
    (best / "lineage.json").write_text('{"data_hashes": ["x"], "hardware": 3}')


def without_best(best: Path) -> None:
    shutil.rmtree(best)


def with_a_late_report(best: Path) -> None:
    note(best, best_report={"report": 9, "score": 0.5})


def with_an_odd_interval(best: Path) -> None:
    note(best, interval=[0.5, "x"])


@pytest.mark.usefixtures("nothing_is_trained")
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without_metrics, "metrics.json: cannot be read (No such file or directory)"),
        (without_score, "best_report must hold a score and the number of its report"),
        (with_a_list, "lineage.json: an object must stand here, but got list"),
        (with_odd_sums, "data_hashes and encoder_sha256 must be sums"),
        (without_best, "no exported model stands here"),
        (with_a_late_report, "best_report.report <= 3 must hold, but got 9"),
        (with_an_odd_interval, "interval must be two numbers, but got [0.5, 'x']"),
    ],
)
def test_a_record_that_cannot_be_read_is_told_before_anything_starts(
    search: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(search / "best")
    with pytest.raises(ConfigError) as raised:
        look_at(search)
    assert words in str(raised.value)
    assert run(search, "--verify")[0] == 2


@pytest.mark.usefixtures("nothing_is_trained")
def test_options_that_have_no_say_are_refused(search: Path, tmp_path: Path) -> None:
    code, _, err = run(search, search, "--verify", "--trial", "0", "--ensemble", "--out", tmp_path / "x", "--how", "average")
    assert code == 2
    assert all(f"{option} has no say beside --verify" in err for option in ("--trial", "--ensemble", "--out"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_and_leaves_nothing(made: tuple[Path, Path], tmp_path: Path, number: int) -> None:
    long = train_search(tmp_path / "search", made[1])
    file = long / "best" / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"budget_examples": 10**6}))
    here = tmp_path / "here"
    here.mkdir()
    before = contents(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(here), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tuner.export", str(long), "--verify"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, cwd=here, env=environment, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("training ")
        time.sleep(1)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err and "Traceback" not in err
    assert contents(tmp_path) == before and list(here.iterdir()) == []


def test_torch_is_as_it_was(search: Path) -> None:
    before = torch.get_num_threads()
    train_again(look_at(search))
    assert torch.get_num_threads() == before
