import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config_parts import EdaConfig
from trainables.data import eda
from trainables.data.eda import OPERATIONS, add_copies, change, delete, insert_synonyms, replace_with_synonyms, swap
from trainables.data.rows import Rows

SYNONYMS = {"film": ("movie", "picture"), "dull": ("dreary",)}
SENTENCES = st.lists(st.sampled_from(["film", "Film,", "dull", "a", "the", "it's", "(film)"]), min_size=1, max_size=20)


@pytest.fixture(autouse=True)
def _few_synonyms(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(eda, "find_synonyms", lambda words: {word: SYNONYMS[word] for word in words if word in SYNONYMS})


def table(num_rows: int, columns: int = 1) -> Rows:
    texts = tuple([f"a dull film of {row} parts, {column}, it was fine" for row in range(num_rows)] for column in range(columns))
    return Rows([f"r{row}" for row in range(num_rows)], texts, np.arange(num_rows, dtype=np.float32))


def copied(copies: int, columns: int = 1, share: float = 0.1, task: str = "sst") -> Rows:
    return add_copies({task: table(6, columns)}, EdaConfig(copies={task: copies}, share=share))[task]


@given(SENTENCES, st.integers(1, 8), st.integers(0, 10))
def test_operations_keep_their_counts(words, num_changes, seed):
    def made(operation):
        return operation(words, num_changes, SYNONYMS, random.Random(seed))

    def plain(word):
        return word.strip("(),").lower()

    able = [word for word in words if plain(word) in SYNONYMS]
    assert sorted(made(swap)) == sorted(words)
    assert len(made(delete)) == max(1, len(words) - num_changes)
    assert len(made(insert_synonyms)) == len(words) + (num_changes if able else 0)
    replaced = [(old, new) for old, new in zip(words, made(replace_with_synonyms), strict=True) if old != new]
    if able:
        assert len(replaced) == min(num_changes, len(able))
        assert all(plain(new) in SYNONYMS[plain(old)] for old, new in replaced)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("sentence", ["", "so", "?", "film"])
def test_sentences_of_one_word_and_none_stay_sentences(operation, sentence):
    for seed in range(5):
        assert bool(change(sentence, operation, 0.1, SYNONYMS, random.Random(seed))) == bool(sentence)


@pytest.mark.parametrize(("words", "share", "gone"), [(4, 0.1, 1), (10, 0.1, 1), (24, 0.1, 2), (26, 0.1, 3), (10, 0.5, 5)])
def test_a_share_of_the_words_changes_at_least_one(words, share, gone):
    sentence = " ".join(f"w{number}" for number in range(words))
    assert len(change(sentence, delete, share, {}, random.Random(0)).split()) == words - gone


def test_a_replacement_keeps_capital_and_punctuation():
    assert replace_with_synonyms(["Dull,", "(dull)"], 2, SYNONYMS, random.Random(0)) == ["Dreary,", "(dreary)"]


def test_copies_stand_behind_all_originals_with_their_labels():
    rows, own = copied(3), table(6)
    assert rows.ids == own.ids + [f"r{row}~{copy}" for row in range(6) for copy in (1, 2, 3)]
    assert rows.sentences[0][:6] == own.sentences[0]
    assert rows.labels.tolist() == own.labels.tolist() + [row for row in range(6) for _ in range(3)]
    assert rows.labels.dtype == np.float32
    for number, name in enumerate(rows.ids[6:], start=6):
        assert rows.sentences[0][number] != own.sentences[0][own.ids.index(name.partition("~")[0])]


def test_copies_hang_on_task_row_and_number_alone():
    few, many, other = copied(2), copied(8), copied(8, task="qqp")
    texts = dict(zip(many.ids, many.sentences[0], strict=True))
    assert all(texts[name] == text for name, text in zip(few.ids, few.sentences[0], strict=True))
    assert many.sentences == copied(8).sentences
    assert many.sentences != other.sentences
    assert many.sentences != copied(8, share=0.4).sentences


def test_eight_copies_use_each_operation_twice():
    rows, words = copied(8), 10
    lengths = np.array([len(text.split()) for text in rows.sentences[0][6:]]).reshape(6, 8) - words
    assert [sorted(row) for row in lengths.tolist()] == [[-1, -1, 0, 0, 0, 0, 1, 1]] * 6


def test_of_a_pair_one_sentence_changes_and_both_have_their_turn():
    rows = copied(8, columns=2)
    changed = np.array([[rows.sentences[c][6 + i] != rows.sentences[c][i // 8] for c in (0, 1)] for i in range(48)])
    assert (changed.sum(axis=1) == 1).all()
    assert changed.any(axis=0).all()


def test_tasks_without_copies_stay():
    tables = {"sst": table(3), "qqp": table(3, 2)}
    assert add_copies(tables, EdaConfig(copies={"sst": 0, "qqp": 1}))["sst"] is tables["sst"]


def test_pinned():
    assert copied(4).sentences[0][6:10] == [
        "a dull of 0 parts, 0, it was fine",
        "a dull movie of 0 parts, 0, it was fine",
        "a dreary dull film of 0 parts, 0, it was fine",
        "a dull film 0, 0 parts, of it was fine",
    ]
