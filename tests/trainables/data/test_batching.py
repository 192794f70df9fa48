import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.config_parts import DataConfig, EncoderConfig
from trainables.data.batching import ExampleStream, evaluation_batches, gather
from trainables.data.tokens import tokenise
from trainables.tasks import CS224N, QQP, SST, STS


@pytest.fixture(scope="module", params=["cross", "bi"])
def store(request):
    return request.param, tokenise(DataConfig(), EncoderConfig(name="tiny", pair_encoding=request.param))


def one_by_one(table, rows, task, pair_encoding):
    """The batch said plainly: sequences and segments of each row."""
    firsts, seconds = [], []
    for row in rows:
        tokens = table.tokens[table.offsets[row] : table.offsets[row + 1]].tolist()
        first = int(table.first_lengths[row])
        if task.is_pair and pair_encoding == "bi":
            firsts.append((tokens[:first], [0] * first))
            seconds.append((tokens[first:], [0] * (len(tokens) - first)))
        else:
            firsts.append((tokens, [0] * first + [1] * (len(tokens) - first)))
    return firsts + seconds


@pytest.mark.parametrize("task", CS224N.tasks, ids=CS224N.by_name)
@pytest.mark.parametrize("num_examples", [0, 1, 7])
def test_gather_equals_row_by_row(store, task, num_examples):
    pair_encoding, tokens = store
    table = tokens.table(task.name, "train")
    rows = np.random.default_rng(num_examples).integers(0, table.num_rows, num_examples)
    batch = gather(table, rows, task=task, pair_encoding=pair_encoding)
    expected = one_by_one(table, rows, task, pair_encoding)
    assert batch.token_ids.tolist() == [token for tokens, _ in expected for token in tokens]
    assert batch.segment_ids.tolist() == [segment for _, segments in expected for segment in segments]
    assert batch.lengths.tolist() == [len(tokens) for tokens, _ in expected]
    assert batch.labels.tolist() == table.labels[rows].tolist()
    assert (batch.task, batch.num_examples) == (task, num_examples)
    assert batch.token_ids.dtype == batch.segment_ids.dtype == torch.int64
    assert batch.lengths.dtype == np.int64
    assert batch.labels.dtype == torch.float32


def test_a_batch_is_a_copy(store):
    pair_encoding, tokens = store
    table = tokens.table("sst", "train")
    batch = gather(table, np.array([0]), task=SST, pair_encoding=pair_encoding)
    batch.token_ids.zero_()
    batch.labels.fill_(9)
    assert table.tokens[1] != 0
    assert table.labels[0] != 9


def test_test_batches_have_no_labels(store):
    pair_encoding, tokens = store
    assert gather(tokens.table("sts", "test"), np.arange(3), task=STS, pair_encoding=pair_encoding).labels is None


@given(num_rows=st.integers(1, 20), sizes=st.lists(st.integers(0, 30), max_size=8), seed=st.integers(0, 2**63 - 1))
def test_a_stream_is_permutation_after_permutation(num_rows, sizes, seed):
    stream = ExampleStream(num_rows, seed=seed)
    batches = [stream.take(size) for size in sizes]
    assert [len(batch) for batch in batches] == sizes
    assert stream.num_taken == sum(sizes)
    taken = np.concatenate([*batches, stream.take(-sum(sizes) % num_rows)])
    for start in range(0, len(taken), num_rows):
        assert sorted(taken[start : start + num_rows]) == list(range(num_rows))


@given(num_rows=st.integers(1, 20), before=st.integers(0, 70), after=st.integers(0, 70), seed=st.integers(0, 9))
def test_a_stream_resumed_equals_the_stream_uninterrupted(num_rows, before, after, seed):
    whole = ExampleStream(num_rows, seed=(seed, 1)).take(before + after)
    resumed = ExampleStream(num_rows, seed=(seed, 1))
    resumed.num_taken = before
    assert resumed.take(after).tolist() == whole[before:].tolist()
    resumed.num_taken = 0
    assert resumed.take(before).tolist() == whole[:before].tolist()


def test_epochs_and_seeds_differ():
    stream = ExampleStream(50, seed=3)
    first, second = stream.take(50).tolist(), stream.take(50).tolist()
    assert first != second
    assert ExampleStream(50, seed=4).take(50).tolist() != first
    assert ExampleStream(50, seed=(3, 1)).take(50).tolist() != first
    assert ExampleStream(50, seed=3).take(50).tolist() == first


def test_the_order_is_pinned():
    assert ExampleStream(6, seed=0).take(9).tolist() == [5, 3, 0, 1, 2, 4, 4, 3, 2]


def test_a_stream_of_nothing_is_refused():
    with pytest.raises(ValueError, match="num_rows >= 1 must hold, but got num_rows=0"):
        ExampleStream(0, seed=0)


@pytest.mark.parametrize("task", [SST, QQP], ids=["sst", "qqp"])
@pytest.mark.parametrize("max_tokens_per_batch", [1, 60, 1000, 10**6])
def test_evaluation_sees_every_row_once_within_the_bound(store, task, max_tokens_per_batch):
    pair_encoding, tokens = store
    table = tokens.table(task.name, "dev")
    seen, shortest = [], 0
    for rows, batch in evaluation_batches(
        table, task=task, pair_encoding=pair_encoding, max_tokens_per_batch=max_tokens_per_batch
    ):
        assert len(batch.token_ids) <= max_tokens_per_batch or len(rows) == 1
        assert batch.labels.tolist() == table.labels[rows].tolist()
        assert table.sequence_lengths[rows].min() >= shortest
        shortest = table.sequence_lengths[rows].max()
        seen += rows.tolist()
    assert sorted(seen) == list(range(table.num_rows))


def test_evaluation_fills_its_batches(store):
    pair_encoding, tokens = store
    table = tokens.table("sst", "dev")
    sizes = [
        len(batch.token_ids)
        for _, batch in evaluation_batches(table, task=SST, pair_encoding=pair_encoding, max_tokens_per_batch=500)
    ]
    assert all(size > 500 - table.sequence_lengths.max() for size in sizes[:-1])
    with pytest.raises(ValueError, match="max_tokens_per_batch >= 1"):
        next(evaluation_batches(table, task=SST, pair_encoding=pair_encoding, max_tokens_per_batch=0))


def test_a_batch_is_frozen(store):
    pair_encoding, tokens = store
    batch = gather(tokens.table("sst", "dev"), np.arange(2), task=SST, pair_encoding=pair_encoding)
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.task = "qqp"
