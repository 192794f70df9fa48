"""What the weights of a BERT are called and how large they are, read off the header of a file: no torch, no tensor is loaded."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ACTIVATIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "gelu": ("gelu", {}),
    "gelu_new": ("gelu", {"approximate": "tanh"}),
    "relu": ("relu", {}),
}
"""`hidden_act` of a config -> name of the function in `torch.nn.functional`, and its options."""
POOLER = "pooler.dense"
_FLOATS = ("F64", "F32", "F16", "BF16")

Shape = tuple[int, ...]


def plain_name(name: str) -> str:
    """A weight's name without the `bert.` of models with a pretraining head, and with today's names of layer norms."""
    return name.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def weight_shapes(config: Mapping[str, Any], *, has_pooler: bool) -> dict[str, Shape]:
    """Hugging Face's name -> shape of every weight of `BertModel`.

    Args:
        config: `config.json`, checked.
        has_pooler: with the dense layer over [CLS], which we keep and do not use.
    """
    return dict(_weight_shapes(config, has_pooler=has_pooler))


def _weight_shapes(config: Mapping[str, Any], *, has_pooler: bool) -> Iterator[tuple[str, Shape]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    yield "embeddings.word_embeddings.weight", (config["vocab_size"], width)
    yield "embeddings.position_embeddings.weight", (config["max_position_embeddings"], width)
    yield "embeddings.token_type_embeddings.weight", (config["type_vocab_size"], width)
    yield from _with_bias("embeddings.LayerNorm", (width,))
    for layer in (f"encoder.layer.{number}" for number in range(config["num_hidden_layers"])):
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            yield from _with_bias(f"{layer}.attention.{part}", (width, width))
        yield from _with_bias(f"{layer}.attention.output.LayerNorm", (width,))
        yield from _with_bias(f"{layer}.intermediate.dense", (inner, width))
        yield from _with_bias(f"{layer}.output.dense", (width, inner))
        yield from _with_bias(f"{layer}.output.LayerNorm", (width,))
    if has_pooler:
        yield from _with_bias(POOLER, (width, width))


def _with_bias(name: str, shape: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def why_torn(weights: Path) -> str:
    """Why a file is no whole safetensors file; empty where it is one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(weights), framework="numpy"):
            return ""
    except (SafetensorError, OSError) as error:
        return f"no whole safetensors file ({error})"


def weight_problems(weights: Path, config: Mapping[str, Any]) -> list[str]:
    """What keeps the weights in a safetensors file from being the encoder of a config; a torn file is found too.

    Args:
        weights: the file; tensors of other parts of a checkpoint (`cls.*`) are passed over.
        config: `config.json`, checked.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(weights), framework="numpy") as file:
            slices = {plain_name(name): file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        return [f"{weights}: no whole safetensors file ({error})"]
    expected = weight_shapes(config, has_pooler=f"{POOLER}.weight" in found)
    missing = [name for name in expected if name not in found]
    if missing:
        return [f"{weights}: {len(missing)} of {len(expected)} tensors of a BERT are missing, the first is {missing[0]}"]
    problems = [
        f"{weights}: {name} must have the shape {shape} of config.json, but got {found[name][0]}"
        for name, shape in expected.items()
        if found[name][0] != shape
    ]
    problems += [
        f"{weights}: {name} must hold floating-point numbers, but got {found[name][1]}"
        for name in expected
        if found[name][1] not in _FLOATS
    ]
    return problems[:1] + ([f"{weights}: and {len(problems) - 1} more like this"] if len(problems) > 1 else [])
