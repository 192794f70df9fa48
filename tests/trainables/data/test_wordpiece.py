import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.wordpiece import SequenceMaker, load_tokenizer, truncate_longest_first
from trainables.encoder_files import EncoderError, find_encoder

SENTENCES = [
    "The Rock is destined to be the 21st Century's new ``Conan''.",
    "Is it naïve to ask for €5, or 500 ₹, in a café in São Paulo?",
    "Antidisestablishmentarianism, they said; floccinaucinihilipilification!",
    "What's the best way to learn C++ (i.e. templates) in 3-4 weeks?",
    "短い 文 and some English",
    "x",
    "A man is playing a guitar. " * 12,
    "no [SEP] tricks [MASK]",
    "",
]


@pytest.fixture(scope="module", params=["packaged", "tiny"])
def encoder(request):
    return find_encoder(request.param)


def rows_of(made):
    return [made.tokens[a:b].tolist() for a, b in zip(made.offsets[:-1], made.offsets[1:], strict=True)]


@pytest.fixture(scope="module")
def hugging_face(encoder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(encoder.folder)


@pytest.mark.parametrize("max_tokens", [8, 9, 16, 17, 128])
def test_sequences_equal_those_of_transformers(encoder, hugging_face, max_tokens):
    firsts = [a for a in SENTENCES for _ in SENTENCES]
    seconds = [b for _ in SENTENCES for b in SENTENCES]
    cross = SequenceMaker(encoder, max_tokens=max_tokens, pair_encoding="cross")
    made = cross.pairs(firsts, seconds)
    expected = hugging_face(firsts, seconds, truncation="longest_first", max_length=max_tokens)
    assert rows_of(made) == expected["input_ids"]
    assert made.first_lengths.tolist() == [segments.count(0) for segments in expected["token_type_ids"]]

    singles = cross.singles(SENTENCES)
    alone = hugging_face(SENTENCES, truncation=True, max_length=max_tokens)["input_ids"]
    assert rows_of(singles) == alone
    assert singles.first_lengths.tolist() == [len(ids) for ids in alone]

    apart = SequenceMaker(encoder, max_tokens=max_tokens, pair_encoding="bi").pairs(SENTENCES, SENTENCES[::-1])
    assert rows_of(apart) == [a + b for a, b in zip(alone, alone[::-1], strict=True)]
    assert apart.first_lengths.tolist() == [len(ids) for ids in alone]


@pytest.mark.parametrize("max_tokens", [8, 9, 17, 128])
def test_with_two_cls_tokens_sequences_are_those_of_one_token_less_room_after_another(encoder, max_tokens):
    cls, sep = load_tokenizer(encoder).encode("").ids
    firsts, seconds = [a for a in SENTENCES for _ in SENTENCES], [b for _ in SENTENCES for b in SENTENCES]
    for pair_encoding in ("cross", "bi"):
        one = SequenceMaker(encoder, max_tokens=max_tokens - 1, pair_encoding=pair_encoding)
        two = SequenceMaker(encoder, max_tokens=max_tokens, pair_encoding=pair_encoding, cls_tokens=2)
        for plain, made in ((one.singles(firsts), two.singles(firsts)), (one.pairs(firsts, seconds), two.pairs(firsts, seconds))):
            assert rows_of(made) == [[t for token in row for t in [token] * (1 + (token == cls))] for row in rows_of(plain)]
            assert made.first_lengths.tolist() == (plain.first_lengths + 1).tolist()
            assert all(row[length - 1] == sep for row, length in zip(rows_of(made), made.first_lengths, strict=True))
        assert max(len(row) for row in rows_of(two.singles(firsts))) <= max_tokens
        if pair_encoding == "cross":
            assert max(len(row) for row in rows_of(two.pairs(firsts, seconds))) <= max_tokens


def test_dtypes_are_those_of_the_file(encoder):
    made = SequenceMaker(encoder, max_tokens=16, pair_encoding="cross").pairs(["a"], ["b"])
    assert (made.tokens.dtype, made.offsets.dtype, made.first_lengths.dtype) == (np.int32, np.int64, np.int32)


@settings(max_examples=300)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 30))
def test_truncation_keeps_the_rules_of_longest_first(first, second, room):
    kept_first, kept_second = (int(kept[0]) for kept in truncate_longest_first(np.array([first]), np.array([second]), room))
    assert kept_first <= first
    assert kept_second <= second
    assert kept_first + kept_second == min(first + second, room)
    if first + second > room:  # the longer is cut; the shorter one only where it is longer than half
        assert abs(kept_first - kept_second) <= 1 or min(first, second) == min(kept_first, kept_second)


def test_truncation_is_pinned():
    firsts, seconds = truncate_longest_first(np.array([5, 2, 20, 20, 3]), np.array([5, 20, 2, 20, 4]), 9)
    assert firsts.tolist() == [4, 2, 7, 4, 3]
    assert seconds.tolist() == [5, 7, 2, 5, 4]


def broken_copy(encoder, tmp_path, change):
    tree = json.loads(encoder.tokenizer_file.read_text())
    change(tree)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree))
    return dataclasses.replace(encoder, tokenizer_file=tmp_path / "tokenizer.json")


def test_a_tokenizer_that_is_not_berts_is_refused(tmp_path):
    tiny = find_encoder("tiny")
    with pytest.raises(EncoderError, match="frames an empty pair as"):
        load_tokenizer(broken_copy(tiny, tmp_path, lambda tree: tree.update(post_processor=None)))
    with pytest.raises(EncoderError, match=r"no readable tokenizer\.json"):
        load_tokenizer(broken_copy(tiny, tmp_path, lambda tree: tree.update(model={"type": "?"})))
    with pytest.raises(EncoderError, match="has a token 10000"):
        load_tokenizer(broken_copy(tiny, tmp_path, lambda tree: tree["model"]["vocab"].update(beyond=10_000)))
