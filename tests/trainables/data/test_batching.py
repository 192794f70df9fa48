import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.config_parts import DataConfig, EncoderConfig
from trainables.data.batching import ExampleStream, evaluation_batches, gather, longest_sequences, part_of
from trainables.data.buckets import Buckets
from trainables.data.frozen_states import FrozenTable
from trainables.data.resident import ResidentTable, ResidentTokens
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
@pytest.mark.parametrize("on_device", [False, True])
def test_gather_equals_row_by_row(store, task, num_examples, on_device):
    pair_encoding, tokens = store
    table = tokens.table(task.name, "train")
    rows = np.random.default_rng(num_examples).integers(0, table.num_rows, num_examples)
    resident = ResidentTable.of(table, torch.device("cpu")) if on_device else None
    batch = gather(table, rows, task=task, pair_encoding=pair_encoding, resident=resident)
    expected = one_by_one(table, rows, task, pair_encoding)
    assert batch.token_ids.tolist() == [token for tokens, _ in expected for token in tokens]
    assert batch.segment_ids.tolist() == [segment for _, segments in expected for segment in segments]
    assert batch.lengths.tolist() == [len(tokens) for tokens, _ in expected]
    assert batch.labels.tolist() == table.labels[rows].tolist()
    assert (batch.task, batch.num_examples) == (task, num_examples)
    assert batch.token_ids.dtype == batch.segment_ids.dtype == torch.int64
    assert batch.lengths.dtype == np.int64
    assert batch.labels.dtype == torch.float32


def test_tables_lie_on_an_accelerator_once_and_never_twice_on_a_cpu(store):
    _, tokens = store
    resident = ResidentTokens(tokens, torch.device("meta"))
    assert resident.table("sst", "train") is resident.table("sst", "train")
    assert resident.table("sst", "train").tokens.device.type == "meta"
    assert resident.table("sts", "test").labels is None
    assert ResidentTokens(tokens, torch.device("cpu")).table("sst", "train") is None


@pytest.mark.parametrize("task", CS224N.tasks, ids=CS224N.by_name)
@pytest.mark.parametrize("pooled", [True, False])
def test_a_part_is_what_gather_gives_of_its_rows(store, task, pooled):
    pair_encoding, tokens = store
    table = tokens.table(task.name, "train")
    num_states = np.full(table.num_rows, 2) if pooled else table.sequence_lengths
    states = np.random.default_rng(0).random((num_states.sum(), 3), dtype=np.float32)
    frozen = FrozenTable(states, np.cumsum(num_states) - num_states, 1, pooled)
    rows, examples = np.array([5, 0, 9, 2, 7]), np.array([3, 0, 4])
    how = {"task": task, "pair_encoding": pair_encoding, "frozen": frozen}
    taught = torch.arange(5.0)
    part = part_of(dataclasses.replace(gather(table, rows, **how), teacher=taught), examples)
    expected = gather(table, rows[examples], **how)
    assert part.token_ids.tolist() == expected.token_ids.tolist()
    assert part.segment_ids.tolist() == expected.segment_ids.tolist()
    assert part.lengths.tolist() == expected.lengths.tolist()
    assert (part.task, part.num_examples) == (task, 3)
    assert part.labels.tolist() == expected.labels.tolist()
    assert part.teacher.tolist() == [3, 0, 4]
    assert torch.equal(part.frozen.values, expected.frozen.values)
    bare = part_of(gather(tokens.table(task.name, "test"), rows, task=task, pair_encoding=pair_encoding), examples)
    assert (bare.labels, bare.teacher, bare.frozen) == (None, None, None)


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


def bucketed(num_rows, batch_size, window, seed):
    lengths = np.random.default_rng(seed).integers(3, 12, num_rows)
    return ExampleStream(num_rows, seed=(seed, 1), buckets=Buckets(lengths, batch_size, window))


BUCKETED = {
    "num_rows": st.integers(1, 40),
    "batch_size": st.integers(1, 9),
    "window": st.integers(2, 5),
    "seed": st.integers(0, 99),
}


@given(**BUCKETED, before=st.integers(0, 30), after=st.integers(1, 30))
def test_a_stream_with_buckets_resumed_equals_the_stream_uninterrupted(*, before, after, **given):
    whole, resumed, batch_size = bucketed(**given), bucketed(**given), given["batch_size"]
    batches = [whole.take(batch_size).tolist() for _ in range(before + after)]
    resumed.num_taken = before * batch_size
    assert [resumed.take(batch_size).tolist() for _ in range(after)] == batches[before:]
    resumed.num_taken = 0
    assert [resumed.take(batch_size).tolist() for _ in range(before)] == batches[:before]


@given(**BUCKETED, num_batches=st.integers(0, 40), skips=st.sets(st.integers(0, 39)))
def test_buckets_move_no_row_further_than_their_window(*, num_rows, batch_size, window, seed, num_batches, skips):
    """Whether passes run on or what is left of one is skipped, as rounds over parts of the rows do."""
    plain, stream = ExampleStream(num_rows, seed=(seed, 1)), bucketed(num_rows, batch_size, window, seed)
    epochs: dict[int, dict[int, int]] = {}  # of each epoch place -> row given out there
    for number in range(num_batches):
        if number in skips:
            stream.num_taken += -stream.num_taken % num_rows
        start = stream.num_taken
        for place, row in enumerate(stream.take(batch_size).tolist(), start):
            epochs.setdefault(place // num_rows, {})[place % num_rows] = row
    for epoch, rows in epochs.items():
        plain.num_taken = epoch * num_rows
        places = {row: place for place, row in enumerate(plain.take(num_rows).tolist())}
        assert len(set(rows.values())) == len(rows), "no row is given out twice in an epoch"
        assert all(abs(places[row] - place) < window * batch_size for place, row in rows.items())
        if len(rows) == num_rows:
            assert set(rows.values()) == set(range(num_rows))


def test_a_window_is_sorted_by_length_and_its_batches_are_shuffled():
    lengths = np.random.default_rng(0).integers(3, 60, 103)
    plain = ExampleStream(103, seed=3).take(206)
    stream = ExampleStream(103, seed=3, buckets=Buckets(lengths, 8, 4))
    order = np.concatenate([stream.take(8) for _ in range(26)])[:206]
    assert order[96:104].tolist() == plain[96:104].tolist(), "the batch over the border of two epochs"
    assert order[200:].tolist() == plain[200:].tolist(), "the batch that the second ends in"
    shuffled = 0
    for start, stop in ((0, 32), (32, 64), (64, 96), (104, 136), (136, 168), (168, 200)):
        assert sorted(order[start:stop]) == sorted(plain[start:stop])
        given_out = lengths[order[start:stop]].reshape(4, 8).tolist()
        by_length = np.sort(lengths[plain[start:stop]]).reshape(4, 8).tolist()
        assert sorted(given_out) == sorted(by_length)
        shuffled += given_out != by_length
    assert shuffled >= 4, "of 6 windows; one in 24 stays sorted by chance"


def test_the_order_of_batches_differs_by_epoch_and_seed():
    lengths = np.arange(64)  # one window of all rows: its batches are always the same ones
    streams = [ExampleStream(64, seed=seed, buckets=Buckets(lengths, 4, 16)) for seed in (3, 4)]
    orders = [[stream.take(4).tolist() for _ in range(16)] for stream in (streams[0], streams[0], streams[1])]
    assert all(sorted(order) == np.arange(64).reshape(16, 4).tolist() for order in orders)
    assert len({str(order) for order in orders}) == 3


def test_epochs_and_seeds_differ():
    stream = ExampleStream(50, seed=3)
    first, second = stream.take(50).tolist(), stream.take(50).tolist()
    assert first != second
    assert ExampleStream(50, seed=4).take(50).tolist() != first
    assert ExampleStream(50, seed=(3, 1)).take(50).tolist() != first
    assert ExampleStream(50, seed=3).take(50).tolist() == first


def test_the_order_is_pinned():
    assert ExampleStream(6, seed=0).take(9).tolist() == [5, 3, 0, 1, 2, 4, 4, 3, 2]


def test_the_order_with_buckets_is_pinned():
    stream = ExampleStream(7, seed=0, buckets=Buckets(np.array([5, 9, 3, 8, 4, 7, 6]), 2, 3))
    assert [stream.take(2).tolist() for _ in range(7)] == [[0, 5], [2, 4], [3, 1], [6, 6], [2, 4], [3, 1], [0, 5]]


def test_longest_sequences_are_what_the_encoder_reads(store):
    pair_encoding, tokens = store
    for task in CS224N.tasks:
        table = tokens.table(task.name, "dev")
        longest = longest_sequences(table, pair_encoding)
        for row in range(20):
            batch = gather(table, np.array([row]), task=task, pair_encoding=pair_encoding)
            assert longest[row] == batch.lengths.max()


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
