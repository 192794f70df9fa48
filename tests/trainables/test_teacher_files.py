import json
import shutil
from pathlib import Path

import pytest

from trainables.config import TrialConfig
from trainables.inputs import absolute_teacher, open_inputs, with_absolute_paths
from trainables.parts import ConfigError
from trainables.paths import read_yaml, write_yaml
from trainables.tasks import CS224N
from trainables.teacher_files import find_teachers


@pytest.fixture(scope="module")
def exported(small_config: TrialConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainables.trainer import Trainer

    folder = tmp_path_factory.mktemp("exported")
    Trainer(small_config).save_model(folder)
    return folder


@pytest.fixture
def teacher(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "teacher")


def taught(config: TrialConfig, **teachers: Path | str | None) -> TrialConfig:
    return config.override({f"objective.distill.teachers.{name}": str(folder) for name, folder in teachers.items()})


def problems(config: TrialConfig) -> list[str]:
    with pytest.raises(ConfigError) as error:
        find_teachers(config)
    return error.value.problems


def test_it_finds_the_teachers_that_are_named(small_config: TrialConfig, teacher: Path) -> None:
    assert find_teachers(small_config) == {}
    found = open_inputs(taught(small_config, sst=teacher, sts=teacher)).teachers
    assert list(found) == ["sst", "sts"]
    assert found["sst"] == found["sts"]
    assert (found["sst"].folder, found["sst"].config) == (teacher.resolve(), small_config)
    assert found["sst"].encoder.folder == (teacher / "encoder").resolve()


@pytest.mark.parametrize("name", ["heads.safetensors", "encoder/model.safetensors", "encoder/config.json", "config.yaml"])
def test_the_sum_hangs_on_each_file_that_decides(small_config: TrialConfig, teacher: Path, tmp_path: Path, name: str) -> None:
    config = taught(small_config, sst=teacher)
    before = find_teachers(config)["sst"].sha256
    (teacher / "metrics.json").write_text("{}")
    assert find_teachers(config)["sst"].sha256 == before
    assert find_teachers(taught(small_config, sst=shutil.copytree(teacher, tmp_path / "moved")))["sst"].sha256 == before
    change(teacher / name)
    assert find_teachers(config)["sst"].sha256 != before


def change(file: Path) -> None:
    """Other content of the same meaning to who checks it: a flipped bit of a weight, a blank at the end of a text."""
    content = file.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    file.write_bytes(flipped if file.suffix == ".safetensors" else content + b"\n")


def test_all_mistakes_are_told_at_once(small_config: TrialConfig, teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    torn = shutil.copytree(teacher, tmp_path / "torn")
    (torn / "heads.safetensors").write_bytes((torn / "heads.safetensors").read_bytes()[:-1])
    (torn / "encoder" / "config.json").unlink()
    write_yaml(read_yaml(torn / "config.yaml") | {"sede": 1}, torn / "config.yaml")
    config = taught(small_config, sst="/no/such", qqp=tmp_path / "empty", sts=torn)
    told = problems(config)
    assert told[0] == "objective.distill.teachers.sst: /no/such: no such folder; python -m tuner.export makes one"
    assert told[1] == (
        f"objective.distill.teachers.qqp: {tmp_path}/empty: no exported model, for there is no config.yaml, "
        "no heads.safetensors, no encoder/"
    )
    where = f"objective.distill.teachers.sts: {torn}: "
    assert told[2] == f"{where}config.yaml: sede: unknown key (did you mean seed?)"
    assert told[3].startswith(f"{where}{torn}/encoder/config.json: no such file; ")
    assert told[4].startswith(f"{where}heads.safetensors: no whole safetensors file (")
    assert len(told) == 5
    with pytest.raises(ConfigError) as error:
        open_inputs(config.override({"encoder.name": "/no/encoder", "data.source": "/no/data"}))
    assert len(error.value.problems) == 7
    assert set(told) < set(error.value.problems)


def test_a_file_is_no_folder(small_config: TrialConfig, teacher: Path) -> None:
    assert "config.yaml: this is a file; " in problems(taught(small_config, sst=teacher / "config.yaml"))[0]


def test_a_teacher_must_have_learnt_the_students_task(small_config: TrialConfig, teacher: Path) -> None:
    tasks = [task.model_dump(mode="json") for task in CS224N.tasks]
    own = tasks[0] | {"num_classes": 3, "sentence_columns": ["text"]}, tasks[2] | {"label_range": [0.0, 1.0]}
    write_yaml({"tasks": {"tasks": list(own), "score": "sst_accuracy + sts_pearson"}}, teacher / "config.yaml")
    where = {name: f"objective.distill.teachers.{name}: {teacher}: " for name in CS224N.names}
    assert problems(taught(small_config, sst=teacher, qqp=teacher, sts=teacher)) == [
        f"{where['sst']}its task sst must have num_classes=5, as the student's, but has 3",
        f"{where['sst']}its task sst must have sentence_columns=('sentence',), as the student's, but has ('text',)",
        f"{where['qqp']}it has not learnt qqp; its tasks are sst, sts",
        f"{where['sts']}its task sts must have label_range=(0.0, 5.0), as the student's, but has (0.0, 1.0)",
    ]


def test_a_task_of_another_kind_is_refused(small_config: TrialConfig, teacher: Path) -> None:
    sst = CS224N.by_name["sst"].model_dump(mode="json") | {"target": "binary", "num_classes": None}
    write_yaml({"tasks": {"tasks": [sst], "score": "sst_accuracy"}}, teacher / "config.yaml")
    told = problems(taught(small_config, sst=teacher))
    assert [line.partition("its task ")[2] for line in told] == [
        "sst must have target=classes, as the student's, but has binary",
        "sst must have num_classes=5, as the student's, but has None",
    ]


def test_a_teacher_must_read_the_same_changed_copies(small_config: TrialConfig, teacher: Path) -> None:
    normalised = taught(small_config.override({"data.normalise_text": True}), sst=teacher, qqp=teacher)
    assert list(find_teachers(normalised)) == ["sst", "qqp"]
    assert problems(normalised.override({"data.eda.copies.sst": 2})) == [
        f"objective.distill.teachers.sst: {teacher}: its data.normalise_text must be True, as the student's, where "
        "data.eda copies rows, but is False"
    ]


def test_a_teacher_of_two_encoders_must_have_both(small_config: TrialConfig, teacher: Path) -> None:
    tree = read_yaml(teacher / "config.yaml")
    write_yaml({**tree, "encoder": {**tree["encoder"], "copies": "singles_and_pairs"}}, teacher / "config.yaml")
    assert f"{teacher}: encoder {teacher}/encoder_pairs: no such folder; " in problems(taught(small_config, sst=teacher))[0]
    shutil.copytree(teacher / "encoder", teacher / "encoder_pairs")
    assert list(find_teachers(taught(small_config, sst=teacher))) == ["sst"]


def test_nothing_starts_before_teachers_are_checked(small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.inputs.tokenise", lambda *_: pytest.fail("tokens are made"))
    with pytest.raises(ConfigError, match=r"^objective\.distill\.teachers\.sst: /no/such: no such folder"):
        open_inputs(taught(small_config, sst="/no/such"))


def test_folders_become_absolute_and_rows_of_a_study_stay(
    small_config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = with_absolute_paths(taught(small_config, sst="runs/best", qqp="row:teacher"))
    assert config.objective.distill.teachers == {"sst": f"{tmp_path}/runs/best", "qqp": "row:teacher", "sts": None}
    assert with_absolute_paths(config) == config
    assert absolute_teacher("~/best") == str(Path("~/best").expanduser())


def test_the_configs_tree_keeps_them(small_config: TrialConfig, teacher: Path) -> None:
    config = taught(small_config, sst=teacher)
    assert TrialConfig.parse(json.loads(json.dumps(config.to_tree()))) == config
