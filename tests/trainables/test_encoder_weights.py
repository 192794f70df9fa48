import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trainables.encoder_files import find_encoder
from trainables.encoder_weights import ACTIVATIONS, plain_name, weight_problems, weight_shapes
from trainables.model.encoder import Encoder, hugging_face_name

Tensors = dict[str, np.ndarray]


@pytest.fixture
def tensors() -> Tensors:
    return load_file(find_encoder("tiny").weights)


def problems_of(tensors: Tensors, folder: Path, **changes: object) -> list[str]:
    save_file(tensors, folder / "model.safetensors")
    return weight_problems(folder / "model.safetensors", {**find_encoder("tiny").config, **changes})


@pytest.mark.parametrize("name", ["tiny", "packaged"])
@pytest.mark.parametrize("has_pooler", [True, False])
def test_the_names_and_shapes_are_those_of_the_model(name: str, has_pooler: bool) -> None:
    files = find_encoder(name)
    model = Encoder.from_file(files.config, files.weights, dropout=0.0)
    if not has_pooler:
        model.pooler = None
    ours = {hugging_face_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert weight_shapes(files.config, has_pooler=has_pooler) == ours


def as_pretraining(tensors: Tensors) -> Tensors:
    head = {"cls.predictions.bias": np.zeros(3, dtype=np.float32)}
    return {f"bert.{name}": tensor for name, tensor in tensors.items()} | head


def as_old(tensors: Tensors) -> Tensors:
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {
        next((name.replace(new, old) for new, old in names.items() if new in name), name): tensor
        for name, tensor in tensors.items()
    }


def without_pooler(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if "pooler" not in name}


def with_buffer(tensors: Tensors) -> Tensors:
    return {**tensors, "embeddings.position_ids": np.arange(512)}


@pytest.mark.parametrize("change", [dict, as_pretraining, as_old, without_pooler, with_buffer])
def test_every_layout_of_a_bert_is_taken(change, tensors: Tensors, tmp_path: Path) -> None:
    changed = change(tensors)
    assert change is dict or set(changed) != set(tensors)
    assert problems_of(changed, tmp_path) == []


@pytest.mark.parametrize(
    "name",
    ["encoder.layer.1.output.LayerNorm.bias", "embeddings.token_type_embeddings.weight", "pooler.dense.bias"],
)
def test_a_missing_tensor_is_named(name: str, tensors: Tensors, tmp_path: Path) -> None:
    del tensors[name]
    [problem] = problems_of(tensors, tmp_path)
    assert problem.endswith(f"1 of {len(tensors) + 1} tensors of a BERT are missing, the first is {name}")


@pytest.mark.parametrize("name", ["encoder.layer.0.output.dense.weight", "pooler.dense.weight", "embeddings.LayerNorm.bias"])
def test_a_tensor_of_another_shape_or_kind_is_named(name: str, tensors: Tensors, tmp_path: Path) -> None:
    shape = tensors[name].shape
    [problem] = problems_of({**tensors, name: np.zeros((7, 7), dtype=np.float32)}, tmp_path)
    assert problem.endswith(f"{name} must have the shape {shape} of config.json, but got (7, 7)")
    [problem] = problems_of({**tensors, name: np.zeros(shape, dtype=np.int8)}, tmp_path)
    assert problem.endswith(f"{name} must hold floating-point numbers, but got I8")


def test_a_config_of_another_size_is_found(tensors: Tensors, tmp_path: Path) -> None:
    assert "encoder.layer.2" in problems_of(tensors, tmp_path, num_hidden_layers=3)[0]
    problems = problems_of(tensors, tmp_path, intermediate_size=65)
    assert "intermediate.dense.weight must have the shape (65, 32)" in problems[0]
    assert problems[1].endswith("and 5 more like this")


def test_plain_names() -> None:
    assert plain_name("bert.encoder.layer.0.output.LayerNorm.gamma") == "encoder.layer.0.output.LayerNorm.weight"
    assert plain_name("cls.bert.LayerNorm.beta") == "cls.bert.LayerNorm.bias"


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_the_one_of_its_name(activation: str) -> None:
    import torch
    from transformers.activations import ACT2FN

    files = find_encoder("tiny")
    model = Encoder.from_file(json.loads(json.dumps({**files.config, "hidden_act": activation})), files.weights, dropout=0.0)
    points = torch.linspace(-4, 4, 101)
    torch.testing.assert_close(model.layers[0].activation(points), ACT2FN[activation](points))
