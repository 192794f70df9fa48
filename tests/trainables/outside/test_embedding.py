import numpy as np
import pytest

from trainables.encoder_files import find_encoder
from trainables.outside.embedding import embed_sentences


def test_they_are_unit_vectors_in_the_order_of_the_sentences():
    files = find_encoder("tiny")
    sentences = ["a warm film", "dull", "a film that is too long " * 100, "a warm film"]
    vectors = embed_sentences(files, sentences)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert vectors[0] == pytest.approx(vectors[3], abs=1e-6)
    assert embed_sentences(files, sentences[1:2])[0] == pytest.approx(vectors[1], abs=1e-5)


def test_they_are_those_of_transformers():
    import torch
    from transformers import AutoModel, AutoTokenizer

    files = find_encoder("tiny")
    model, tokenizer = AutoModel.from_pretrained(files.folder).eval(), AutoTokenizer.from_pretrained(files.folder)
    with torch.no_grad():
        states = model(**tokenizer("a warm film", return_tensors="pt")).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states.mean(dim=0), dim=0).numpy()
    assert embed_sentences(files, ["a warm film"])[0] == pytest.approx(expected, abs=1e-5)
