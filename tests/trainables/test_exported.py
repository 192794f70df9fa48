import shutil
from pathlib import Path

import pytest
import torch

from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.exported import read_export, weights_in
from trainables.model.files import save_model
from trainables.model.multitask import MultitaskModel
from trainables.parts import ConfigError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    config, files = TrialConfig().override({"encoder.name": "tiny", "encoder.copies": "singles_and_pairs"}), find_encoder("tiny")
    save_model(MultitaskModel(config, files, torch.Generator()), files, tmp_path / "search" / "best")
    return tmp_path / "search" / "best"


def test_it_is_found_in_its_folder_and_in_best(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, config = read_export(model)
    assert folder == model and config.encoder.copies == "singles_and_pairs"
    assert read_export(model.parent) == (folder, config)
    monkeypatch.chdir(model.parent)
    assert read_export(Path("best"))[0] == model
    assert [str(file.relative_to(model)) for file in weights_in(model)] == [
        "encoder/model.safetensors",
        "encoder_pairs/model.safetensors",
        "heads.safetensors",
    ]


def test_all_that_is_wrong_is_told_at_once(model: Path) -> None:
    (model / "heads.safetensors").write_bytes(b"half of it")
    shutil.rmtree(model / "encoder_pairs")
    (model / "encoder" / "tokenizer.json").unlink()
    (model / "encoder" / "vocab.txt").unlink(missing_ok=True)
    with pytest.raises(ConfigError) as raised:
        read_export(model)
    assert all(str(model) in problem for problem in raised.value.problems)
    for words in ("heads.safetensors: no whole", "encoder_pairs", "tokenizer.json"):
        assert any(words in problem for problem in raised.value.problems), words


@pytest.mark.parametrize(("name", "words"), [("no", "no such folder"), ("", "no exported model stands here")])
def test_a_folder_that_holds_none_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_export(tmp_path / name)
