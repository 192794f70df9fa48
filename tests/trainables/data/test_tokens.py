import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from trainables.config_parts import DataConfig, EncoderConfig
from trainables.data import tokens
from trainables.data.reading import load_rows
from trainables.data.tokens import open_store, store_key, tokenise
from trainables.encoder_files import find_encoder
from trainables.tasks import CS224N


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(cs224n_folder):
    return DataConfig(source=str(cs224n_folder))


TINY = EncoderConfig(name="tiny")


def same(one, other):
    return one.tables.keys() == other.tables.keys() and all(
        one.tables[key].ids == other.tables[key].ids
        and np.array_equal(one.tables[key].tokens, other.tables[key].tokens)
        and np.array_equal(one.tables[key].offsets, other.tables[key].offsets)
        and np.array_equal(one.tables[key].first_lengths, other.tables[key].first_lengths)
        for key in one.tables
    )


@pytest.mark.parametrize("pair_encoding", ["cross", "bi"])
def test_the_store_holds_the_rows(data, pair_encoding):
    from tokenizers import Tokenizer

    store = tokenise(data, EncoderConfig(name="tiny", pair_encoding=pair_encoding))
    rows = load_rows(data)
    tokenizer = Tokenizer.from_file(str(find_encoder("tiny").tokenizer_file))
    assert store.tables.keys() == {(name, split) for name, splits in rows.splits.items() for split in splits}
    for (name, split), table in store.tables.items():
        expected = rows.splits[name][split]
        assert table.ids == expected.ids
        assert table.num_rows == expected.num_rows == len(table.sequence_lengths)
        assert (table.labels is None) == (expected.labels is None) == (split == "test")
        if table.labels is not None:
            assert table.labels.tolist() == expected.labels.tolist()
        cross = not CS224N.by_name[name].is_pair or pair_encoding == "cross"
        for i, texts in enumerate(zip(*expected.sentences, strict=True)):
            ids = tokenizer.encode(*texts).ids if cross else [t for text in texts for t in tokenizer.encode(text).ids]
            assert table.tokens[table.offsets[i] : table.offsets[i + 1]].tolist() == ids
    assert (store.left_out, store.hashes, store.rows_read) == (rows.left_out, rows.hashes, rows.rows_read)


def test_rows_left_out_are_known_without_reading_again(data, cs224n_folder, monkeypatch):
    with (cs224n_folder / "quora-train.csv").open("a") as file:
        file.write("2\tx\tWhat?\t\t1\n")
    first = tokenise(data, TINY)
    monkeypatch.setattr(tokens, "load_rows", lambda _: pytest.fail("the files were read again"))
    second = tokenise(data, TINY)
    assert same(first, second)
    assert [str(row) for row in second.left_out] == ["quora-train.csv line 4, column sentence2: empty"]


def test_tables_are_views_of_the_map(data):
    for table in tokenise(data, TINY).tables.values():
        for array in (table.tokens, table.offsets, table.first_lengths):
            assert not array.flags.owndata
            assert not array.flags.writeable


def test_has_says_which_splits_there_are(data):
    store = tokenise(data, TINY)
    assert store.has("sst", "test")
    assert not store.has("sts", "test")
    with pytest.raises(KeyError):
        store.table("sts", "test")


def test_the_key_hangs_on_all_that_decides_the_tokens(data, cs224n_folder):
    bi = EncoderConfig(name="tiny", pair_encoding="bi")
    others = [(data.model_copy(update={"max_tokens": 9}), TINY), (data.model_copy(update={"normalise_text": True}), TINY)]
    keys = [tokenise(*parts).key for parts in [(data, TINY), (data, bi), (data, EncoderConfig()), *others]]
    with (cs224n_folder / "sts-dev.csv").open("a") as file:
        file.write("9\tz\tOne.\tTwo.\t1\n")
    keys.append(tokenise(data, TINY).key)
    assert len(set(keys)) == 6


def test_two_cls_tokens_are_another_key_and_stand_at_both_starts(data):
    for pair_encoding in ("cross", "bi"):
        one, two = (
            tokenise(data, EncoderConfig(name="tiny", pair_encoding=pair_encoding, cls_tokens=number)) for number in (1, 2)
        )
        assert one.key != two.key
        cls = one.table("sst", "train").tokens[0]
        for key, table in two.tables.items():
            assert (table.tokens == cls).sum() == 2 * (one.tables[key].tokens == cls).sum()
            starts = table.offsets[:-1]
            assert (table.tokens[starts] == cls).all()
            assert (table.tokens[starts + 1] == cls).all()
            assert (table.first_lengths == one.tables[key].first_lengths + 1).all()


def test_the_key_of_one_cls_token_is_pinned():
    key = store_key(DataConfig(), TINY, CS224N, "tokenizer", {"file": "sum"})
    assert key == store_key(DataConfig(), EncoderConfig(name="tiny", cls_tokens=1), CS224N, "tokenizer", {"file": "sum"})
    assert key == "002fe7271c7cfff7800ab209fb5c76c50847105f0e2e2e56f3810557f09473dd"


def test_the_key_hangs_on_nothing_else(data):
    key = tokenise(data, TINY).key
    assert tokenise(data.model_copy(update={"batch_size": 3}), EncoderConfig(name="tiny", pooling="mean", dropout=0.0)).key == key


def test_sequences_are_cut_to_max_tokens(data):
    for pair_encoding in ("cross", "bi"):
        store = tokenise(data.model_copy(update={"max_tokens": 8}), EncoderConfig(name="tiny", pair_encoding=pair_encoding))
        for (name, _), table in store.tables.items():
            bi = CS224N.by_name[name].is_pair and pair_encoding == "bi"
            longest = (
                np.maximum(table.first_lengths, table.sequence_lengths - table.first_lengths) if bi else table.sequence_lengths
            )
            assert longest.max() <= 8


def content_of(store):
    arrays = [
        [table.ids, table.tokens.tolist(), table.offsets.tolist(), table.first_lengths.tolist(), table.labels is None]
        for table in store.tables.values()
    ]
    return arrays, list(store.tables), store.left_out, store.hashes, store.rows_read, store.key


def test_a_damaged_file_is_made_again(data):
    whole = tokenise(data, TINY)
    expected, content = content_of(whole), whole.path.read_bytes()
    whole.path.unlink()  # not written over: it is mapped
    whole.path.write_bytes(content[:-1])
    assert content_of(tokenise(data, TINY)) == expected
    assert whole.path.read_bytes() == content
    assert not list(whole.path.parent.glob(f".{whole.path.name}*"))


def test_what_was_not_written_by_us_does_not_open(tmp_path):
    with pa.ipc.new_file(str(tmp_path / "other.arrow"), tokens.SCHEMA):
        pass
    assert open_store(tmp_path / "other.arrow", "key") is None
    assert open_store(tmp_path / "nothing.arrow", "key") is None


def test_a_flipped_token_does_not_open(data):
    store = tokenise(data, TINY)
    content = bytearray(store.path.read_bytes())
    content[content.index(store.table("sts", "dev").tokens.tobytes()) + 4] ^= 1
    copy = store.path.with_name("copy.arrow")
    copy.write_bytes(content)
    assert open_store(copy, store.key) is None


SLOW_BUILD = """
import sys, time
from pathlib import Path
from trainables.config_parts import DataConfig, EncoderConfig
from trainables.data import tokens

source, folder, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
real = tokens.load_rows

def counted(config, tasks):
    (folder / f"built-{number}").touch()
    time.sleep(0.3)  # longer than the others need to reach the lock
    return real(config, tasks)

tokens.load_rows = counted
(folder / f"ready-{number}").touch()
while len(list(folder.glob("ready-*"))) < 3:
    time.sleep(0.005)
tokens.tokenise(DataConfig(source=source), EncoderConfig(name="tiny"))
"""


def test_processes_that_start_at_once_make_it_once(data, tmp_path):
    find_encoder("tiny")
    commands = [[sys.executable, "-c", SLOW_BUILD, data.source, str(tmp_path), str(number)] for number in range(3)]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert len(list(tmp_path.glob("built-*"))) == 1


def test_the_sample_is_known_without_being_made(monkeypatch):
    first = tokenise(DataConfig(), TINY)
    monkeypatch.setattr(tokens, "load_rows", lambda *_: pytest.fail("the sample was made again"))
    assert same(first, tokenise(DataConfig(), TINY))
