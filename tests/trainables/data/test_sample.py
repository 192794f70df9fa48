import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.sample import SAMPLE_SHA256, make_captions, make_questions, make_review, make_sample, sample_sha256
from trainables.tasks import CS224N


@pytest.fixture(scope="module")
def sample():
    return make_sample()


def rows_as_sets(rows):
    return [frozenset(row) for row in zip(*rows.sentences, strict=True)]


def test_its_sum_is_pinned(sample):
    """Fails when a word or a pattern changes: write the new sum into SAMPLE_SHA256, so that no old tokens are used."""
    assert sample_sha256(sample) == SAMPLE_SHA256


def test_its_size_and_shape(sample):
    assert list(sample) == list(CS224N.by_name)
    for name, splits in sample.items():
        assert {split: rows.num_rows for split, rows in splits.items()} == {"train": 1600, "dev": 300, "test": 100}
        ids = [row_id for rows in splits.values() for row_id in rows.ids]
        assert len(set(ids)) == len(ids)
        for split, rows in splits.items():
            assert len(rows.sentences) == len(CS224N.by_name[name].sentence_columns)
            assert {len(column) for column in rows.sentences} == {rows.num_rows}
            assert (rows.labels is None) == (split == "test")


def test_no_row_stands_twice(sample):
    for splits in sample.values():
        rows = [row for part in splits.values() for row in rows_as_sets(part)]
        assert len(set(rows)) == len(rows)


def test_labels_keep_to_their_task(sample):
    for name, splits in sample.items():
        task, labels = CS224N.by_name[name], splits["train"].labels
        assert labels.dtype == np.float32
        assert labels.min() >= task.label_low
        assert labels.max() <= task.label_high
        assert np.array_equal(labels, labels.round(1 if task.target == "score" else 0))


def test_no_answer_is_right_for_most(sample):
    classes = np.bincount(sample["sst"]["train"].labels.astype(int)) / 1600
    assert classes.min() > 0.1
    assert classes.max() < 0.35
    assert 0.35 < sample["qqp"]["train"].labels.mean() < 0.65
    assert sample["sts"]["train"].labels.std() > 1.2


def overlap(rows):
    pairs = [[set(text.rstrip("?.").lower().split()) for text in row] for row in zip(*rows.sentences, strict=True)]
    return np.array([len(a & b) / len(a | b) for a, b in pairs])


def test_word_overlap_does_not_decide_paraphrases(sample):
    rows = sample["qqp"]["train"]
    share, labels = overlap(rows), rows.labels
    best = max(float(((share > cut) == labels).mean()) for cut in np.linspace(0, 1, 41))
    assert best < 0.72
    assert (share[labels == 0] > 0.6).any()
    assert (share[labels == 1] < 0.2).any()


def test_sentences_are_short(sample):
    words = {
        name: np.mean([len(text.split()) for column in splits["train"].sentences for text in column])
        for name, splits in sample.items()
    }
    assert 7 < words["sst"] < 12
    assert 6 < words["qqp"] < 9
    assert 7 < words["sts"] < 9.5


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([make_review, make_questions, make_captions]))
def test_each_row_hangs_on_its_generator_alone(seed, make):
    one, other = (make(np.random.default_rng(seed)) for _ in range(2))
    assert one == other
    for text in one.sentences:
        assert text[0].isupper()
        assert text[-1] in ".?"
        assert "  " not in text
        assert "{" not in text


def test_another_seed_gives_another_sample():
    small = (20, 5, 5)
    assert sample_sha256(make_sample(0, small)) == sample_sha256(make_sample(0, small))
    assert sample_sha256(make_sample(0, small)) != sample_sha256(make_sample(1, small))


def test_the_sum_is_of_the_content():
    tree = {
        name: {
            split: [rows.ids, rows.sentences, None if rows.labels is None else rows.labels.tolist()] for split, rows in s.items()
        }
        for name, s in make_sample(0, (3, 2, 1)).items()
    }
    assert sample_sha256(make_sample(0, (3, 2, 1))) == hashlib.sha256(json.dumps(tree).encode()).hexdigest()
