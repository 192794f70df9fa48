"""Members are tiny models as they begin, from different seeds: what they predict differs, and nothing has to train."""

import csv
import gc
import itertools
import json
import shlex
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from trainables.config import TrialConfig
from trainables.data.sample import make_sample
from trainables.data.tokens import tokenise
from trainables.encoder_files import find_encoder
from trainables.evaluation import decide, evaluate
from trainables.files import sha256_of
from trainables.model import files as model_files
from trainables.model.files import load_model, save_model
from trainables.model.multitask import MultitaskModel
from trainables.parts import ConfigError
from trainables.tasks import CS224N
from tuner.ensemble import HOW, Ensemble, Scored, best_per_task, export_ensemble, mean_prediction, score_members, table
from tuner.export import app
from tuner.members import find_members
from tuner.predictions import write_predictions

NUM_ROWS = {"train": 4, "dev": 30, "test": 8}
SUFFIX = {"train": "train", "dev": "dev", "test": "test-student"}
FILES = {f"{stem}-{split}-output.csv" for stem in ("sst", "para", "sts") for split in ("dev", "test")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    sample = make_sample()
    for task, (split, num_rows) in itertools.product(CS224N.tasks, NUM_ROWS.items()):
        rows = sample[task.name][split]
        with (folder / f"{task.file_stem}-{SUFFIX[split]}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            writer.writerow(["id", *task.sentence_columns, *([] if rows.labels is None else [task.label_column])])
            for row in range(num_rows):
                label = [] if rows.labels is None else [rows.labels[row]]
                writer.writerow([rows.ids[row], *(column[row] for column in rows.sentences), *label])
    return folder


def model_at(folder: Path, data: Path | str, seed: int, **changes: Any) -> Path:
    """An exported model: heads drawn wide, so that decisions differ."""
    settings = {"data.source": str(data), "encoder.name": "tiny", "seed": seed}
    config = TrialConfig().override(settings | {path.replace("__", "."): value for path, value in changes.items()})
    files, generator = find_encoder("tiny"), torch.Generator().manual_seed(seed)
    model = MultitaskModel(config, files, generator)
    with torch.no_grad():
        for weight in model.heads.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) / 4)
    save_model(model, files, folder)
    return folder


@pytest.fixture(scope="module")
def models(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models that read their pairs in two ways and their text in three."""
    folder = tmp_path_factory.mktemp("models")
    differences = ({}, {"encoder__pair_encoding": "bi"}, {"data__max_tokens": 16, "data__normalise_text": True})
    return [model_at(folder / str(n), data, n, **changes) for n, changes in enumerate(differences)]


@pytest.fixture(scope="module")
def ensemble(models: list[Path]) -> Ensemble:
    return score_members(find_members(models))


def own_predictions(model: Path, out: Path) -> dict[str, bytes]:
    """The prediction files that the model's own export has."""
    config, loaded = load_model(model)
    store = tokenise(config.data, config.encoder, config.tasks)
    write_predictions(out, store, config.tasks, {split: evaluate(loaded, store, split).predictions for split in ("dev", "test")})
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(*args: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("how", HOW)
def test_two_equal_members_are_one(models: list[Path], tmp_path: Path, how: str) -> None:
    twin = shutil.copytree(models[1], tmp_path / "twin")
    out, found = export_ensemble([models[1], twin], how=how, out=tmp_path / "out")
    assert contents(out / "predictions") == own_predictions(models[1], tmp_path / "own")
    for scored in (found.together[how], found.alone[1]):
        assert scored.metrics == pytest.approx(found.alone[0].metrics, abs=1e-6)


def test_members_score_what_they_score_alone(ensemble: Ensemble, models: list[Path]) -> None:
    for scored, folder in zip(ensemble.alone, models, strict=True):
        config, model = load_model(folder)
        assert scored.metrics == evaluate(model, tokenise(config.data, config.encoder, config.tasks)).metrics
    assert len({scored.metrics["score"] for scored in ensemble.alone}) == 3


def test_the_order_of_members_does_not_change_an_average(ensemble: Ensemble) -> None:
    tasks, first = ensemble.tasks, ensemble.together["average"]
    for order in itertools.permutations(ensemble.alone):
        other = HOW["average"](tasks, order, ensemble.members[0])
        assert other.metrics == first.metrics
        for split, name in itertools.product(("dev", "test"), tasks.names):
            np.testing.assert_array_equal(other.outputs[split][name], first.outputs[split][name])


def test_best_per_task_has_each_tasks_best(ensemble: Ensemble) -> None:
    best = ensemble.together["best_per_task"]
    for task in ensemble.tasks.tasks:
        of_members = [scored.metrics[task.metric_key] for scored in ensemble.alone]
        [source] = best.sources[task.name]
        assert best.metrics[task.metric_key] == max(of_members) == of_members[source]
        for split in ("dev", "test"):
            np.testing.assert_array_equal(best.outputs[split][task.name], ensemble.alone[source].outputs[split][task.name])
    assert best.metrics["score"] == ensemble.tasks.score_of(best.metrics)
    assert len({source for [source] in best.sources.values()}) > 1


def test_a_broken_member_is_never_the_best(ensemble: Ensemble) -> None:
    good = ensemble.alone[1]
    broken = Scored(good.outputs, dict.fromkeys(good.metrics, float("nan")), good.sources)
    assert best_per_task(ensemble.tasks, [broken, good], ensemble.members[0]).sources == {name: [1] for name in CS224N.names}


@pytest.mark.parametrize("task", CS224N.tasks, ids=lambda task: task.name)
def test_the_mean_of_equal_predictions_decides_as_they_do(task: Any) -> None:
    outputs = (np.random.default_rng(0).standard_normal((200, task.num_outputs)) * 30).astype(np.float32)
    outputs = outputs if task.target == "classes" else outputs[:, 0]
    for count in (2, 3, 5):
        decided = decide(task, mean_prediction(task, [outputs] * count))
        np.testing.assert_allclose(decided, decide(task, outputs), rtol=1e-6)


def test_probabilities_are_averaged_not_logits() -> None:
    sst, qqp, sts = CS224N.tasks
    logits = [np.log(np.array([[0.9, 0.1]], dtype=np.float32)), np.log(np.array([[0.2, 0.8]], dtype=np.float32))]
    np.testing.assert_allclose(mean_prediction(sst, logits), [[0.55, 0.45]], atol=1e-7)
    logit_of = {p: np.log([p / (1 - p)]).astype(np.float32) for p in (0.999, 0.3, 0.2)}
    np.testing.assert_allclose(mean_prediction(qqp, list(logit_of.values())), [2 * (1.499 / 3) - 1], atol=1e-6)
    assert decide(qqp, mean_prediction(qqp, list(logit_of.values()))) == [0]
    assert decide(qqp, np.mean(list(logit_of.values()), axis=0)) == [1]
    np.testing.assert_array_equal(mean_prediction(sts, [np.float32([1, 4]), np.float32([2, 5])]), np.float32([1.5, 4.5]))


def test_huge_logits_do_not_overflow() -> None:
    sst, qqp, _ = CS224N.tasks
    assert mean_prediction(sst, [np.float32([[1e30, -1e30]])] * 2).tolist() == [[1, 0]]
    assert mean_prediction(qqp, [np.float32([1e30, -1e30])] * 2).tolist() == [1, -1]


def test_one_member_is_loaded_at_a_time(models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[MultitaskModel]] = []

    def watched(folder: Path) -> tuple[TrialConfig, MultitaskModel]:
        assert [model() for model in loaded] == [None] * len(loaded)
        config, model = load_model(folder)
        loaded.append(weakref.ref(model))
        return config, model

    members = find_members(models)
    monkeypatch.setattr(model_files, "load_model", watched)
    gc.disable()
    try:
        score_members(members)
    finally:
        gc.enable()
    assert len(loaded) == 3


def test_the_command_writes_all_of_it_and_prints_both_ways(models: list[Path], ensemble: Ensemble, tmp_path: Path) -> None:
    out = tmp_path / "a new" / "ensemble"
    code, said, _ = run("--ensemble", *models, "--how", "best_per_task", "--out", out)
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "ensemble.yaml", "metrics.json", "predictions"]
    assert table(ensemble) in said and "lucky side" in said and str(out) in said
    made = yaml.safe_load((out / "ensemble.yaml").read_text())
    assert [member["folder"] for member in made["members"]] == [str(model) for model in models]
    weights = {name: sha256_of(models[2] / name) for name in ("heads.safetensors", "encoder/model.safetensors")}
    assert made["members"][2]["weights_sha256"] == weights
    best = ensemble.together["best_per_task"]
    assert made["tasks"] == {name: [str(models[place])] for name, [place] in best.sources.items()}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["dev"] == metrics["ensembles"]["best_per_task"] == best.metrics
    assert [member["dev"] for member in metrics["members"]] == [scored.metrics for scored in ensemble.alone]
    card = (out / "README.md").read_text()
    assert f"| **best_per_task** | {best.metrics['score']:.4f} |" in card
    [command] = [line for line in card.splitlines() if line.startswith("python -m tuner.export ")]
    before = contents(out / "predictions")
    shutil.rmtree(out)
    assert run(*shlex.split(command)[3:])[0] == 0
    assert contents(out / "predictions") == before


@pytest.mark.parametrize("how", HOW)
def test_the_files_hold_what_was_scored(models: list[Path], ensemble: Ensemble, tmp_path: Path, how: str) -> None:
    out, _ = export_ensemble(models, how=how, out=tmp_path / "out")
    assert {path.name for path in (out / "predictions").iterdir()} == FILES
    for task in CS224N.tasks:
        lines = (out / "predictions" / f"{task.prediction_name}-dev-output.csv").read_text().splitlines()
        values = np.array([float(line.split(" , ")[1]) for line in lines[1:]])
        labels = ensemble.members[0].store.table(task.name, "dev").labels
        right = np.corrcoef(values, labels)[0, 1] if task.metric == "pearson" else (values == labels).mean()
        assert right == pytest.approx(ensemble.together[how].metrics[task.metric_key], abs=1e-6)


def test_it_is_made_again_over_an_older_one_but_over_nothing_else(models: list[Path], tmp_path: Path) -> None:
    out, _ = export_ensemble(models[:2], out=tmp_path / "out")
    before = contents(out / "predictions")
    (out / "predictions" / "sst-dev-output.csv").unlink()
    assert contents(export_ensemble(models[:2], out=out)[0] / "predictions") == before
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"it holds notes\.txt"):
        export_ensemble(models[:2], out=out)
    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_without_out_it_takes_a_new_folder(models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (export_ensemble(models[:2])[0] for _ in range(2))
    assert first.parent == Path("runs") and first.name.endswith("-ensemble")
    assert second.name == f"{first.name}-2"


def test_a_folder_with_a_best_in_it_will_do(models: list[Path], tmp_path: Path) -> None:
    shutil.copytree(models[0], tmp_path / "search" / "best")
    assert [member.folder for member in find_members([tmp_path / "search", models[1]])] == [tmp_path / "search/best", models[1]]


def test_rows_that_only_training_sees_are_not_read(data: Path, models: list[Path], tmp_path: Path) -> None:
    outside = model_at(tmp_path / "m", data, 5, data__more_rows={"sst": ["gone.csv"]}, data__eda__copies={"sst": 2})
    first, second = find_members([outside, models[0]])
    assert first.store.key == second.store.key


def test_data_of_ones_own_is_named_once_for_all(data: Path, models: list[Path], tmp_path: Path) -> None:
    other = shutil.copytree(data, tmp_path / "data")
    stranger = model_at(tmp_path / "model", other, 9)
    with pytest.raises(ConfigError) as raised:
        find_members([models[0], stranger])
    [problem] = raised.value.problems
    assert "--data" in problem and str(data) in problem and str(other) in problem
    assert {member.source for member in find_members([models[0], stranger], str(other))} == {str(other)}


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("sst", {"num_classes": 3}, "task sst must have num_classes=5, as in the first member, but has 3"),
        ("sts", {"label_range": [0, 1]}, "task sts must have label_range=(0.0, 5.0)"),
        ("sst", {"name": "mood"}, "must be about the same tasks, sst, qqp, sts, but got mood, qqp, sts"),
    ],
)
def test_other_tasks_are_refused(models: list[Path], tmp_path: Path, name: str, changes: dict[str, Any], words: str) -> None:
    other = shutil.copytree(models[0], tmp_path / "other")
    source = yaml.safe_load((other / "config.yaml").read_text())["data"]["source"]
    tasks = [task.model_dump(mode="json") | (changes if task.name == name else {}) for task in CS224N.tasks]
    config = TrialConfig.parse({"tasks": {"tasks": tasks}, "data": {"source": source}})
    (other / "config.yaml").write_text(yaml.safe_dump(config.to_tree()))
    with pytest.raises(ConfigError) as raised:
        find_members([models[0], other])
    assert f"{other}: " in str(raised.value) and words in str(raised.value)


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise AssertionError(f"{folder} was loaded")

    monkeypatch.setattr(model_files, "load_model", refuse)


@pytest.mark.usefixtures("nothing_is_loaded")
def test_all_mistakes_are_told_at_once_before_anything_is_loaded(models: list[Path], tmp_path: Path) -> None:
    torn = shutil.copytree(models[0], tmp_path / "torn")
    (torn / "heads.safetensors").write_bytes(b"half of it")
    headless = shutil.copytree(models[0], tmp_path / "headless")
    (headless / "config.yaml").unlink()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    code, _, said = run(
        "--ensemble", models[0], torn, headless, mine, tmp_path / "no", "--how", "mean", "--data", "nowhere", "--out", mine
    )
    assert code == 2
    for words in (
        "--how must be average or best_per_task, but got 'mean'",
        f"--out: {mine} is not empty and not an ensemble (it holds thesis.txt)",
        f"{torn / 'heads.safetensors'}: no whole safetensors file",
        f"{headless / 'config.yaml'}: no such file",
        f"{mine}: no exported model stands here",
        f"{tmp_path / 'no'}: no such folder",
        "nowhere: no such folder",
    ):
        assert words in said, words
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--ensemble", "A"], ["at least two exported models, but got 1"]),
        (["--ensemble", "A", "A", "--trial", "1"], ["--trial is for one search"]),
        (["A", "A"], ["one search is exported at a time, but got 2"]),
        (["A", "--how", "average", "--data", "sample"], ["--how is for --ensemble", "--data is for --ensemble"]),
    ],
)
def test_options_that_have_no_say_are_refused(models: list[Path], args: list[str], words: list[str]) -> None:
    code, _, said = run(*(models[0] if arg == "A" else arg for arg in args))
    assert code == 2
    assert all(word in said for word in words), said


def test_a_failure_while_writing_leaves_the_old_one(models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner import ensemble as module

    out, _ = export_ensemble(models[:2], out=tmp_path / "out")
    before = contents(out / "predictions")

    def full(*_: Any, **__: Any) -> Callable[..., None]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "ensemble_card", full)
    with pytest.raises(OSError, match="No space"):
        export_ensemble(models[1:], out=out)
    assert contents(out / "predictions") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
