import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from trainables.data.sample import make_sample
from trainables.tiny_encoder import tiny_encoder_files, tiny_vocabulary, write_tiny_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_its_bytes_are_pinned():
    sums = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in tiny_encoder_files().items()}
    assert sums == {
        "config.json": "5bd177d63cab687c",
        "model.safetensors": "6844675dabfd54c1",
        "tokenizer.json": "2e27fd4af0e56e35",
        "tokenizer_config.json": "ee23c8a7c49d741f",
        "vocab.txt": "788ac2aa1dad7314",
    }


def test_a_damaged_file_is_written_anew_and_a_good_one_left_alone(tmp_path):
    folder = write_tiny_encoder(tmp_path)
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in folder.iterdir()}
    (folder / "config.json").unlink()
    (folder / "model.safetensors").write_bytes(b"torn")
    assert write_tiny_encoder(tmp_path) == folder
    assert {path: path.read_bytes() for path in folder.iterdir()} == {path: content for path, (_, content) in before.items()}
    assert (folder / "tokenizer.json").stat().st_ino == before[folder / "tokenizer.json"][0]


def test_transformers_loads_it_whole(folder):
    from transformers import AutoTokenizer, BertModel

    model, report = BertModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (2, 32)
    assert AutoTokenizer.from_pretrained(folder)("A Film.")["input_ids"][0] == 2


def test_its_weights_are_those_with_which_bert_starts(folder):
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if "LayerNorm" in name or name.endswith("bias"):
            assert set(np.unique(weight)) == {float(name.endswith("LayerNorm.weight"))}
        else:
            assert abs(weight.mean()) < 0.002
            assert weight.std() == pytest.approx(0.02, rel=0.15)


def test_its_vocabulary_is_small_and_without_twins():
    vocabulary = tiny_vocabulary()
    assert len(vocabulary) == len(set(vocabulary)) < 1500


@settings(max_examples=50)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_any_ascii_text_is_made_of_its_pieces(tokenizer, text):
    encoding = tokenizer.encode(text, add_special_tokens=False)
    assert "[UNK]" not in encoding.tokens or "[UNK]" in text
    if not any(mark in text for mark in "[]"):
        assert "".join(token.removeprefix("##") for token in encoding.tokens).replace("#", "") == "".join(
            text.lower().split()
        ).replace("#", "")


def test_the_sample_corpus_stands_in_whole_words(tokenizer):
    sample = make_sample(rows_per_task=(150, 1, 1))
    pieces = [
        token
        for splits in sample.values()
        for column in splits["train"].sentences
        for encoding in tokenizer.encode_batch(column)
        for token in encoding.tokens
    ]
    assert sum(token.startswith("##") for token in pieces) < 0.01 * len(pieces)
