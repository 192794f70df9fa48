import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables import teachers
from trainables.config import TrialConfig
from trainables.files import cache_folder
from trainables.inputs import open_inputs
from trainables.model.files import load_model
from trainables.objectives.losses import DIVERGENCES
from trainables.objectives.objective import Objective
from trainables.parts import ConfigError
from trainables.steps import Metrics
from trainables.tasks import CS224N
from trainables.teachers import teacher_outputs
from trainables.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _nothing_is_computed_yet() -> None:
    shutil.rmtree(cache_folder() / "teachers", ignore_errors=True)


def write_teacher(config: TrialConfig, folder: Path) -> Path:
    """A teacher with a mind of its own: its heads give other predictions than those of a model at its start."""
    trainer = Trainer(config)
    with torch.no_grad():
        for weight in trainer.model.heads.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    trainer.save_model(folder)
    return folder


@pytest.fixture(scope="module")
def teacher(small_config: TrialConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It reads pairs apart, in lower case, cut at 16 tokens; the student does not."""
    own = {"encoder.pair_encoding": "bi", "encoder.pooling": "mean", "data.max_tokens": 16, "data.normalise_text": True}
    return write_teacher(small_config.override(own), tmp_path_factory.mktemp("teacher"))


@pytest.fixture
def student(small_config: TrialConfig, teacher: Path) -> TrialConfig:
    return small_config.override({"objective.distill.teachers": dict.fromkeys(CS224N.names, str(teacher))})


def outputs_of(config: TrialConfig) -> dict[str, np.ndarray]:
    inputs = open_inputs(config)
    return teacher_outputs(inputs.config, inputs.teachers, inputs.store, CPU)


def files() -> list[Path]:
    return sorted((cache_folder() / "teachers").glob("*.arrow"))


def test_they_are_the_teachers_predictions_of_the_students_rows_as_the_teacher_reads_them(
    student: TrialConfig, teacher: Path
) -> None:
    from trainables.data.batching import gather
    from trainables.data.tokens import tokenise

    found = outputs_of(student)
    own, model = load_model(teacher)
    tokens = tokenise(own.data, own.encoder)
    assert {name: outputs.shape for name, outputs in found.items()} == {"sst": (24, 5), "qqp": (24,), "sts": (24,)}
    for name, outputs in found.items():
        batch = gather(tokens.table(name, "train"), np.arange(24), task=CS224N.by_name[name], pair_encoding="bi")
        expected = model([batch], generator=None)[name].detach()
        torch.testing.assert_close(torch.from_numpy(outputs.copy()), expected, rtol=1e-4, atol=1e-4)
        assert outputs.std() > 0.1
        assert (outputs.dtype, outputs.flags.owndata, outputs.flags.writeable) == (np.float32, False, False)


def test_only_named_teachers_are_asked(small_config: TrialConfig, teacher: Path) -> None:
    assert outputs_of(small_config) == {}
    assert list(outputs_of(small_config.override({"objective.distill.teachers.sts": str(teacher)}))) == ["sts"]
    assert len(files()) == 1


def never(*_: Any) -> None:
    pytest.fail("they were computed again")


def test_they_are_computed_once(student: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = outputs_of(student)
    assert len(files()) == 3
    monkeypatch.setattr(teachers, "predict", never)
    again = outputs_of(student.override({"seed": 9, "optimizer.lr": 0.1, "encoder.pooling": "max", "data.batch_size": 2}))
    assert all(np.array_equal(first[name], again[name]) for name in CS224N.names)


def test_threads_that_start_at_once_compute_them_once(
    student: TrialConfig, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = student.override({"objective.distill.teachers.qqp": None, "objective.distill.teachers.sts": None})
    inputs, real, calls = open_inputs(config), teachers.predict, []
    outputs_of(config)  # tokens are there
    files()[0].unlink()
    start, found = threading.Barrier(3), []

    def counted(*args: Any) -> np.ndarray:
        calls.append(1)
        return real(*args)

    def work() -> None:
        start.wait()
        found.append(teacher_outputs(inputs.config, inputs.teachers, inputs.store, CPU)["sst"])

    monkeypatch.setattr(teachers, "predict", counted)
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len(found) == 3
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def flip_an_output(content: bytes, outputs: np.ndarray) -> bytes:
    place = content.index(outputs.tobytes())
    return content[: place + 2] + bytes([content[place + 2] ^ 1]) + content[place + 3 :]


DAMAGES: dict[str, Callable[[bytes, np.ndarray], bytes]] = {
    "empty": lambda content, _: b"",
    "half": lambda content, _: content[: len(content) // 2],
    "a byte short": lambda content, _: content[:-1],
    "flipped": flip_an_output,
}


def test_a_damaged_file_is_made_again(small_config: TrialConfig, teacher: Path) -> None:
    config = small_config.override({"objective.distill.teachers.sst": str(teacher)})
    first = outputs_of(config)["sst"].copy()
    [file] = files()
    content = file.read_bytes()
    for damage in DAMAGES.values():
        file.unlink()  # not written over: it is mapped
        file.write_bytes(damage(content, first))
        assert np.array_equal(outputs_of(config)["sst"], first)
        assert file.read_bytes() == content


def test_other_weights_and_other_data_make_other_files(
    small_config: TrialConfig, student: TrialConfig, teacher: Path, tmp_path: Path
) -> None:
    first = outputs_of(student)
    other = shutil.copytree(teacher, tmp_path / "other")
    content = (other / "heads.safetensors").read_bytes()
    (other / "heads.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    outputs_of(student.override({"objective.distill.teachers.sst": str(other)}))
    assert len(files()) == 4
    rows = shutil.copytree(small_config.data.source, tmp_path / "rows")
    with (rows / "ids-sst-train.csv").open("a", encoding="utf-8") as file:
        file.write("one more\ta good film\t4\n")
    longer = outputs_of(student.override({"data.source": str(rows)}))
    assert len(files()) == 5, "the rows of the other two tasks are the same"
    assert [len(outputs) for outputs in longer.values()] == [25, 24, 24]
    np.testing.assert_allclose(longer["sst"][:24], first["sst"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "change", [{"data.eda.copies.sst": 2}, {"data.train_share": {"qqp": 0.1, "sts": 0.1}}, {"data.max_tokens": 64}]
)
def test_what_changes_nothing_of_a_tasks_rows_as_its_teacher_reads_them_computes_nothing_anew(
    small_config: TrialConfig, teacher: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    config = small_config.override({"objective.distill.teachers.qqp": str(teacher)})
    first = outputs_of(config)["qqp"]
    monkeypatch.setattr(teachers, "predict", never)
    assert np.array_equal(outputs_of(config.override(change))["qqp"], first)


def test_changed_copies_of_a_tasks_own_rows_are_predicted(small_config: TrialConfig, tmp_path: Path) -> None:
    teacher = write_teacher(small_config, tmp_path / "teacher")
    config = small_config.override({"objective.distill.teachers.qqp": str(teacher)})
    first = outputs_of(config)["qqp"]
    copies = outputs_of(config.override({"data.eda.copies.qqp": 1}))["qqp"]
    assert (len(files()), len(first), len(copies)) == (2, 24, 48)
    np.testing.assert_allclose(copies[:24], first, rtol=1e-4, atol=1e-4)


def test_rows_that_changed_since_the_students_tokens_were_opened_are_refused(student: TrialConfig, tmp_path: Path) -> None:
    rows = shutil.copytree(student.data.source, tmp_path / "rows")
    inputs = open_inputs(student.override({"data.source": str(rows)}))
    with (rows / "ids-sst-train.csv").open("a", encoding="utf-8") as file:
        file.write("one more\ta good film\t4\n")
    with pytest.raises(ConfigError, match=rf"^objective\.distill\.teachers\.sst: .*: the training rows of {rows} have changed$"):
        teacher_outputs(inputs.config, inputs.teachers, inputs.store, CPU)


def test_a_teacher_that_changed_since_it_was_checked_is_refused(small_config: TrialConfig, teacher: Path, tmp_path: Path) -> None:
    other = shutil.copytree(teacher, tmp_path / "other")
    inputs = open_inputs(small_config.override({"objective.distill.teachers.sst": str(other)}))
    content = (other / "heads.safetensors").read_bytes()
    (other / "heads.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ConfigError, match=rf"^objective\.distill\.teachers\.sst: {other}: the model has changed since"):
        teacher_outputs(inputs.config, inputs.teachers, inputs.store, CPU)
    assert files() == []


def test_changed_copies_of_rows_have_a_teacher_too(small_config: TrialConfig, teacher: Path) -> None:
    eda = {"data.eda.copies": {"sst": 2}, "data.normalise_text": True, "data.train_share.sst": 0.5}
    trainer = Trainer(small_config.override({**eda, "objective.distill.teachers.sst": str(teacher)}))
    assert trainer.teacher_outputs["sst"].shape == (72, 5)
    run(trainer, until=1)


def test_a_teacher_may_be_of_another_make(small_config: TrialConfig, tmp_path: Path) -> None:
    make = {"encoder.copies": "singles_and_pairs", "encoder.cls_tokens": 2, "encoder.lora.rank": 2, "encoder.pooling": "cls"}
    other = write_teacher(small_config.override(make), tmp_path / "other")
    config = small_config.override({"objective.distill.teachers": dict.fromkeys(CS224N.names, str(other))})
    own, model = load_model(other)
    store = open_inputs(own).store
    for name, outputs in outputs_of(config).items():
        expected = teachers.predict(model, store.table(name, "train"), CS224N.by_name[name], np.arange(24))
        assert np.array_equal(outputs, expected)


STILL = {"encoder.dropout": 0.0, "heads.*.dropout": 0.0}
CLOCK = ("train_seconds", "eval_seconds", "examples_per_second", "tokens_per_second")


def run(trainer: Trainer, until: int = 10**6) -> list[Metrics]:
    while not trainer.done and len(trainer.history) < until:
        trainer.advance()
    return [{key: value for key, value in metrics.items() if key not in CLOCK} for metrics in trainer.history]


def equal(one: Trainer, two: Trainer) -> bool:
    state = two.model.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.model.state_dict().items())


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_student_like_its_teacher_learns_nothing_from_it(small_config: TrialConfig, tmp_path: Path, divergence: str) -> None:
    config = small_config.override({**STILL, "objective.smart.divergence": divergence})
    Trainer(config).save_model(tmp_path / "teacher")
    trainer = Trainer(config.override({"objective.distill.teachers": dict.fromkeys(CS224N.names, str(tmp_path / "teacher"))}))
    batches = [trainer._next_batch(name) for name in CS224N.names]
    assert all(batch.teacher is not None and len(batch.teacher) == 4 for batch in batches)
    without = Objective(config.override({"objective.distill.gamma": 0.0}).objective)
    one, two = (
        objective(trainer.model, batches, masks=None, noise=torch.Generator()) for objective in (without, trainer.objective)
    )
    for name in CS224N.names:
        assert two[name].item() == pytest.approx(one[name].item(), abs=1e-6)


def test_gamma_0_is_training_without_a_teacher(
    small_config: TrialConfig, student: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(teachers, "predict", never)
        plain, off = Trainer(small_config), Trainer(student.override({"objective.distill.gamma": 0.0}))
    curve = run(plain)
    assert run(off) == curve
    assert equal(plain, off)
    assert run(Trainer(student)) != curve


def test_the_student_comes_nearer_to_its_teacher(student: TrialConfig) -> None:
    sts = CS224N.by_name["sts"]
    fixed = outputs_of(student)["sts"]

    def distance(gamma: float, num_examples: int) -> float:
        short = {"budget_examples": num_examples, "num_reports": 1, "phases.0.tasks": ["sts"], "optimizer.lr": 1e-2}
        trainer = Trainer(student.override({**short, "data.batch_size": 8, "objective.distill.gamma": gamma}))
        run(trainer)
        found = teachers.predict(trainer.model, trainer.tables["sts"], sts, np.arange(24))
        return float(np.square(found - fixed).mean())

    assert distance(20.0, 160) < 0.5 * min(distance(20.0, 8), distance(0.0, 160))


CASES: dict[str, dict[str, Any]] = {
    "with_smart_and_bregman": {
        "objective.smart": {"enabled": True, "divergence": "kl"},
        "objective.bregman": {"mu": 2.0, "beta": 0.5, "late_beta": 0.8},
        "data.train_share.sst": 0.5,
    },
    "with_pcgrad_and_ranking": {
        "balancing.gradients": "pcgrad",
        "phases.0.task_schedule": "sum_of_losses",
        "encoder.pair_encoding": "bi",
        "objective.ranking.weights": {"qqp": 1.0, "sts": 0.5},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_stopped_and_continued_equals_never_stopped(student: TrialConfig, tmp_path: Path, case: str) -> None:
    config = student.override(CASES[case])
    whole, first = Trainer(config), Trainer(config)
    curve = run(whole)
    run(first, until=1)
    first.save(tmp_path / "saved")
    shutil.rmtree(cache_folder() / "teachers")  # what is lost is computed again, the same
    second = Trainer(config)
    second.load(tmp_path / "saved")
    assert run(second) == curve
    assert equal(whole, second)


def test_another_teacher_is_refused_and_old_checkpoints_are_not(small_config: TrialConfig, teacher: Path, tmp_path: Path) -> None:
    other = shutil.copytree(teacher, tmp_path / "teacher")
    config = small_config.override({"objective.distill.teachers.sst": str(other)})
    Trainer(config).save(tmp_path / "saved")
    content = (other / "heads.safetensors").read_bytes()
    (other / "heads.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"teachers\.sst: '[0-9a-f]{64}', '[0-9a-f]{64}'$"):
        Trainer(config).load(tmp_path / "saved")
    plain = Trainer(small_config)
    plain.save(tmp_path / "plain")
    assert set(json.loads((tmp_path / "plain" / "state.json").read_text())["made_from"]) == {"data", "encoder"}
    plain.load(tmp_path / "plain")


def test_the_folder_of_a_search_stands_for_the_model_in_its_best(student: TrialConfig, teacher: Path, tmp_path: Path) -> None:
    shutil.copytree(teacher, tmp_path / "search" / "best")
    named = student.override({"objective.distill.teachers.*": str(tmp_path / "search")})
    found = open_inputs(named).teachers
    assert {files.folder for files in found.values()} == {tmp_path / "search" / "best"}
    assert {files.sha256 for files in found.values()} == {files.sha256 for files in open_inputs(student).teachers.values()}


def test_a_student_goes_on_where_its_teachers_were_moved_and_not_with_others(
    student: TrialConfig, teacher: Path, tmp_path: Path
) -> None:
    whole = Trainer(student)
    whole.advance()
    whole.save(tmp_path / "state")
    moved = student.override({"objective.distill.teachers.*": str(shutil.copytree(teacher, tmp_path / "moved"))})
    again = Trainer(moved)
    again.load(tmp_path / "state")
    assert again.advance()["loss"] == whole.advance()["loss"]
    (tmp_path / "moved" / "config.yaml").write_text((teacher / "config.yaml").read_text() + "# another\n")
    with pytest.raises(ValueError, match=r"teachers\.sst: "):
        Trainer(moved).load(tmp_path / "state")
    with pytest.raises(ValueError, match=r"objective\.distill\.teachers\.qqp: True, False"):
        Trainer(student.override({"objective.distill.teachers.qqp": None})).load(tmp_path / "state")
