import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.model.files import load_model, save_model
from trainables.model.multitask import MultitaskModel
from trainables.tasks import CS224N


def save(folder: Path) -> MultitaskModel:
    config = TrialConfig().override({"encoder.name": "tiny", "heads.sst.kind": "mlp", "heads.sts.pooling": "attention"})
    files = find_encoder("tiny")
    model = MultitaskModel(config, files, torch.Generator().manual_seed(3))
    with torch.no_grad():
        model.encoder.layers[1].output.bias.add_(0.5)
        model.heads["sts"].pooling.score.weight.add_(0.5)
    save_model(model, files, folder)
    return model


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model = save(tmp_path / "model")
    config, loaded = load_model(tmp_path / "model")
    assert config == model.config
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in loaded.state_dict().items())


def test_an_attention_pooling_lies_with_its_head(tmp_path: Path) -> None:
    model = save(tmp_path)
    saved = load_file(tmp_path / "heads.safetensors")
    assert saved.keys() == model.heads.state_dict().keys()
    assert torch.equal(saved["sts.pooling.score.weight"], torch.full((1, model.encoder.hidden_size), 0.5))


def test_heads_without_weights_are_saved_and_loaded(tmp_path: Path) -> None:
    heads = {"sts": {"kind": "cosine"}}
    tasks = {"tasks": [CS224N.by_name["sts"].model_dump(mode="json")]}
    config = TrialConfig.parse({"tasks": tasks, "heads": heads, "encoder": {"name": "tiny", "pair_encoding": "bi"}})
    files = find_encoder("tiny")
    save_model(MultitaskModel(config, files, torch.Generator()), files, tmp_path)
    assert load_model(tmp_path)[0] == config


def test_tokenizer_loads_in_transformers(tmp_path: Path) -> None:
    save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    assert tokenizer("a good film")["input_ids"]


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "heads.safetensors").unlink()
    with pytest.raises(ValueError, match=r"heads\.safetensors: no such file"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match=r"config\.yaml: no such file"):
        load_model(tmp_path / "nothing")


OPTIONS: dict[str, dict[str, Any]] = {
    "one": {},
    "two_encoders": {"encoder.copies": "singles_and_pairs"},
    "two_cls_tokens": {"encoder.cls_tokens": 2},
    "lora": {"encoder.lora": {"rank": 3, "alpha": 2.0, "targets": "all"}},
    "two_encoders_with_lora": {"encoder.copies": "singles_and_pairs", "encoder.lora": {"rank": 1}},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_the_loaded_model_predicts_what_the_saved_one_did(tmp_path: Path, make_batch: Callable[..., Any], case: str) -> None:
    config, files = TrialConfig().override({"encoder.name": "tiny", **OPTIONS[case]}), find_encoder("tiny")
    model = MultitaskModel(config, files, torch.Generator().manual_seed(3))
    chance = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=chance), alpha=0.05)
    save_model(model, files, tmp_path)
    loaded_config, loaded = load_model(tmp_path)
    assert loaded_config == config
    batches = [make_batch("qqp", [30, 3]), make_batch("sst", [4, 9, 3]), make_batch("sts", [7, 7])]
    with torch.inference_mode():
        one, two = model(batches, generator=None), loaded(batches, generator=None)
    assert all(torch.equal(predictions, two[task]) for task, predictions in one.items())
    again = MultitaskModel(config, files, torch.Generator().manual_seed(5))
    again.load_weights(tmp_path)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert (tmp_path / "encoder_pairs").is_dir() == (model.encoder_pairs is not None)
    assert (tmp_path / "lora.safetensors").is_file() == ("lora" in case)
    for name in model.encoders:
        assert find_encoder(str(tmp_path / name)).tokenizer_sha256 == files.tokenizer_sha256
