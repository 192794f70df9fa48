import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from trainables.encoder_files import find_encoder
from trainables.model.encoder import Encoder, hugging_face_name

LENGTHS = np.array([7, 3, 22, 3, 41, 12])


def load(name: str, dropout: float = 0.0) -> Encoder:
    files = find_encoder(name)
    return Encoder.from_file(files.config, files.weights, dropout=dropout)


def tokens(encoder: Encoder, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    total = int(LENGTHS.sum())
    return torch.from_numpy(rng.integers(0, encoder.config["vocab_size"], total)), torch.from_numpy(rng.integers(0, 2, total))


def transformers_bert(folder: Path) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoModel, logging

        logging.disable_progress_bar()
        model, info = AutoModel.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    return model.eval()


def padded(values: torch.Tensor) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(values.split(LENGTHS.tolist()), batch_first=True)


@pytest.mark.parametrize("name", ["tiny", "packaged"])
def test_equals_transformers_on_padded_batches_with_gradients_and_after_saving(name: str, tmp_path: Path) -> None:
    encoder = load(name)
    encoder.save_pretrained(tmp_path)
    theirs = transformers_bert(tmp_path)
    ids, segments = tokens(encoder)
    mask = padded(torch.ones_like(ids))
    out = theirs(padded(ids), attention_mask=mask, token_type_ids=padded(segments)).last_hidden_state[mask.bool()]
    ours = encoder(ids, segments, LENGTHS, generator=None).states
    torch.testing.assert_close(ours, out, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    ours.backward(upstream)
    out.backward(upstream)
    gradients = {key: weight.grad for key, weight in theirs.named_parameters() if not key.startswith("pooler")}
    # Relative to each weight's gradient; those of key biases are 0 but for rounding, hence the floor.
    floor = 1e-3 * torch.stack([gradient.norm() for gradient in gradients.values()]).max()
    for key, weight in encoder.named_parameters():
        if weight.requires_grad:
            expected = gradients[hugging_face_name(key)]
            assert (weight.grad.to_dense() - expected).norm() / (expected.norm() + floor) < 1e-5, key


def test_first_tokens_alone_are_the_same_numbers() -> None:
    encoder = load("tiny")
    ids, segments = tokens(encoder)
    full = encoder(ids, segments, LENGTHS, generator=None)
    first = encoder(ids, segments, LENGTHS, generator=None, first_tokens_only=True)
    torch.testing.assert_close(first.states[first.starts], full.states[full.starts])
    assert first.states.shape == (len(LENGTHS), encoder.hidden_size)
    assert first.lengths.tolist() == [1.0] * len(LENGTHS)


def test_cls_tokens_anywhere_are_the_same_numbers() -> None:
    encoder, positions = load("tiny"), np.array([1, 0, 21, 2, 0, 1])
    ids, segments = tokens(encoder)
    full = encoder(ids, segments, LENGTHS, generator=None, cls_positions=positions)
    alone = encoder(ids, segments, LENGTHS, generator=None, cls_positions=positions, first_tokens_only=True)
    starts = np.cumsum(LENGTHS) - LENGTHS
    assert full.cls_rows.tolist() == (starts + positions).tolist()
    torch.testing.assert_close(alone.states[alone.cls_rows], full.states[full.cls_rows])
    assert torch.equal(full.states, encoder(ids, segments, LENGTHS, generator=None).states)


def test_each_sequence_is_alone_in_its_batch() -> None:
    encoder = load("tiny")
    ids, segments = tokens(encoder)
    together = encoder(ids, segments, LENGTHS, generator=None).states.split(LENGTHS.tolist())
    for inner, piece, states in zip(ids.split(LENGTHS.tolist()), segments.split(LENGTHS.tolist()), together, strict=True):
        alone = encoder(inner, piece, np.array([len(inner)]), generator=None).states
        torch.testing.assert_close(alone, states, rtol=1e-4, atol=1e-5)


def test_given_embeddings_are_used_and_its_own_change_nothing() -> None:
    encoder = load("tiny")
    ids, segments = tokens(encoder)
    embeddings = encoder.embed(ids, segments, LENGTHS)
    plain = encoder(ids, segments, LENGTHS, generator=None).states
    assert torch.equal(plain, encoder(ids, segments, LENGTHS, generator=None, embeddings=embeddings).states)
    assert not torch.equal(plain, encoder(ids, segments, LENGTHS, generator=None, embeddings=embeddings + 1e-2).states)


def test_dropout_follows_its_generator() -> None:
    encoder = load("tiny", dropout=0.2)
    ids, segments = tokens(encoder)
    one, two, other = (
        encoder(ids, segments, LENGTHS, generator=torch.Generator().manual_seed(seed)).states for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_old_names_and_prefixes_load(tmp_path: Path) -> None:
    files = find_encoder("tiny")
    old = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in load_file(files.weights).items()
    }
    save_file({**old, "cls.predictions.bias": torch.zeros(3)}, tmp_path / "old.safetensors")
    today, then = load("tiny"), Encoder.from_file(files.config, tmp_path / "old.safetensors", dropout=0.0)
    assert all(torch.equal(a, b) for a, b in zip(today.state_dict().values(), then.state_dict().values(), strict=True))


def test_missing_and_misshapen_weights_are_named() -> None:
    files = find_encoder("tiny")
    weights = load_file(files.weights)
    name = "encoder.layer.1.output.dense.bias"
    with pytest.raises(ValueError, match=f"lack 1 tensors, the first is {name}"):
        Encoder(files.config, {key: tensor for key, tensor in weights.items() if key != name}, dropout=0.0)
    with pytest.raises(ValueError, match=rf"{name} must have the shape \[32\] of the config, but got \[5\]"):
        Encoder(files.config, {**weights, name: torch.zeros(5)}, dropout=0.0)


def test_nothing_is_drawn_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    load("tiny")
    assert torch.equal(before, torch.get_rng_state())


def test_what_was_saved_loads_into_another(tmp_path: Path) -> None:
    one, two = load("tiny"), load("tiny")
    with torch.no_grad():
        one.layers[0].query.weight.add_(1)
    one.save_pretrained(tmp_path)
    two.load_weights(tmp_path / "model.safetensors")
    assert torch.equal(one.layers[0].query.weight, two.layers[0].query.weight)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"
