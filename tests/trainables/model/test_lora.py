import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from trainables.config_parts import LoraConfig
from trainables.encoder_files import find_encoder
from trainables.model.blank import Linear
from trainables.model.encoder import Encoder
from trainables.model.lora import TARGETS, LoraLinear, adapters, merged_state

LENGTHS = np.array([7, 3, 22, 3])
EVERY = [LoraConfig(rank=rank, alpha=5.0, targets=targets) for rank, targets in itertools.product((1, 4, 40), TARGETS)]
every = pytest.mark.parametrize("config", EVERY, ids=lambda config: f"{config.targets}-{config.rank}")


def encoder(config: LoraConfig | None = None, *, disturbed: bool = False) -> Encoder:
    files = find_encoder("tiny")
    out = Encoder.from_file(files.config, files.weights, dropout=0.0)
    if config is not None:
        out.add_adapters(config, torch.Generator().manual_seed(0))
    if disturbed:
        disturb(out)
    return out


@torch.no_grad()
def disturb(module: torch.nn.Module) -> None:
    chance = torch.Generator().manual_seed(1)
    for weight in adapters(module).values():
        weight.add_(torch.randn(weight.shape, generator=chance), alpha=0.1)


def states(model: Encoder) -> torch.Tensor:
    rng = np.random.default_rng(0)
    ids, segments = (torch.from_numpy(rng.integers(0, end, int(LENGTHS.sum()))) for end in (400, 2))
    out: torch.Tensor = model(ids, segments, LENGTHS, generator=None).states
    return out


@every
def test_at_the_start_it_is_the_pretrained_encoder_bit_for_bit(config: LoraConfig) -> None:
    plain, adapted = encoder(), encoder(config)
    assert torch.equal(states(plain), states(adapted))
    with torch.no_grad():
        assert torch.equal(states(plain), states(adapted))
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in merged_state(adapted).items())


@every
def test_what_trains_gives_value_and_gradients_of_the_formula(config: LoraConfig) -> None:
    """By the chain rule, with G the gradient of the merged weight: that of A is `scale B^T G`, that of B `scale G A^T`."""
    adapted, plain = encoder(config, disturbed=True), encoder()
    plain.load_state_dict(merged_state(adapted))
    ours, expected = states(adapted), states(plain)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    ours.backward(upstream)
    expected.backward(upstream)
    layers = {name: layer for name, layer in adapted.named_modules() if isinstance(layer, LoraLinear)}
    assert len(layers) == 2 * len(TARGETS[config.targets])
    for name, layer in layers.items():
        gradient = plain.get_parameter(f"{name}.weight").grad * (config.alpha / config.rank)
        pairs = (layer.lora_a.grad, layer.lora_b.T @ gradient), (layer.lora_b.grad, gradient @ layer.lora_a.T)
        assert all((one - two).norm() < 1e-3 * two.norm() for one, two in pairs), name  # relative: a query's gradients are small


@every
def test_only_adapters_move_and_those_of_frozen_layers_do_not(config: LoraConfig) -> None:
    adapted = encoder(config)
    names = {
        f"layers.{layer}.{name}.{part}" for layer in (0, 1) for name in TARGETS[config.targets] for part in ("lora_a", "lora_b")
    }
    assert set(adapters(adapted)) == names
    for frozen_layers, moving in ((1, {name for name in names if name.startswith("layers.1.")}), (2, set()), (0, names)):
        adapted.freeze(frozen_layers)
        assert {name for name, weight in adapted.named_parameters() if weight.requires_grad} == moving


@every
def test_without_gradients_it_runs_on_the_weights_that_are_saved(config: LoraConfig, tmp_path: Path) -> None:
    adapted = encoder(config, disturbed=True)
    adapted.save_pretrained(tmp_path)
    saved = Encoder.from_file(adapted.config, tmp_path / "model.safetensors", dropout=0.0)
    with torch.inference_mode():
        one, two = states(adapted), states(saved)
    assert torch.equal(one, two)
    assert not torch.equal(one, states(encoder()))
    torch.testing.assert_close(states(adapted).detach(), two, rtol=1e-4, atol=1e-5)


def test_what_is_saved_has_the_names_and_shapes_that_transformers_reads(tmp_path: Path) -> None:
    """`test_encoder.py` holds the plain encoder's files against transformers itself."""
    for name, model in {"plain": encoder(), "adapted": encoder(EVERY[-1], disturbed=True)}.items():
        model.save_pretrained(tmp_path / name)
    plain, adapted = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "adapted"))
    assert {name: tensor.shape for name, tensor in plain.items()} == {name: tensor.shape for name, tensor in adapted.items()}
    changed = {name for name in plain if not torch.equal(plain[name], adapted[name])}
    assert changed == {name for name in plain if name.startswith("encoder.") and name.endswith("weight") and "Norm" not in name}
    assert (tmp_path / "plain" / "config.json").read_bytes() == (tmp_path / "adapted" / "config.json").read_bytes()


def test_what_is_merged_is_not_loaded_as_if_it_were_not(tmp_path: Path) -> None:
    adapted = encoder(EVERY[0], disturbed=True)
    adapted.save_pretrained(tmp_path)
    with pytest.raises(AssertionError, match="what is merged cannot be taken apart"):
        adapted.load_weights(tmp_path / "model.safetensors")


def test_merged_weights_do_not_hang_on_the_number_of_threads() -> None:
    base = Linear(384, 1536)
    torch.nn.init.normal_(base.weight, generator=torch.Generator().manual_seed(0))
    layer = LoraLinear(base, LoraConfig(rank=8), torch.Generator().manual_seed(1))
    disturb(layer)
    before, merged = torch.get_num_threads(), []
    for num_threads in (1, 2, 3):
        torch.set_num_threads(num_threads)
        merged.append(layer.merged_weight())
    torch.set_num_threads(before)
    assert all(torch.equal(merged[0], other) for other in merged)


def test_a_is_drawn_from_the_generator_with_the_stated_deviation_and_b_is_0() -> None:
    state = torch.get_rng_state()
    base = Linear(300, 7)
    one, two, other = (LoraLinear(base, LoraConfig(rank=200), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.lora_a, two.lora_a)
    assert not torch.equal(one.lora_a, other.lora_a)
    assert one.lora_a.std().item() == pytest.approx((3 * 300) ** -0.5, rel=0.02)
    assert abs(one.lora_a.mean().item()) < 1e-3
    assert not one.lora_b.any()
    assert (one.lora_a.shape, one.lora_b.shape) == ((200, 300), (7, 200))
    assert torch.equal(state, torch.get_rng_state())


def test_a_pinned_layer() -> None:
    base = Linear(2, 1)
    layer = LoraLinear(base, LoraConfig(rank=1, alpha=3.0), torch.Generator())
    with torch.no_grad():
        base.weight.copy_(torch.tensor([[1.0, 2.0]]))
        base.bias.fill_(10.0)
        layer.lora_a.copy_(torch.tensor([[1.0, -1.0]]))
        layer.lora_b.fill_(2.0)
    inputs = torch.tensor([[5.0, 4.0]])
    assert layer(inputs).item() == 5 + 8 + 10 + 3 * 2 * (5 - 4)
    assert layer.merged_weight().tolist() == [[1 + 6, 2 - 6]]
