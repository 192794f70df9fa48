from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import TrialConfig
from trainables.config_parts import DataConfig, EncoderConfig
from trainables.data.confirm_part import confirm_places, merged, split_dev
from trainables.data.reading import load_rows
from trainables.data.rows import DataError, Rows
from trainables.data.tokens import tokenise
from trainables.parts import ConfigError
from trainables.tasks import QQP, SST, STS


def make_rows(task, labels, prefix="row"):
    names = [f"{prefix}{number}" for number in range(len(labels))]
    return Rows(names, tuple([f"text {name}" for name in names] for _ in task.sentence_columns), np.array(labels, np.float32))


@given(
    labels=st.lists(st.integers(0, 4), min_size=8, max_size=60),
    share=st.floats(0.25, 0.75),
)
def test_the_two_parts_are_all_rows_each_once_in_their_order(labels, share):
    dev = make_rows(SST, labels)
    search, confirm, places = split_dev(SST, dev, share)
    assert confirm.ids == [dev.ids[place] for place in places]
    assert confirm.labels.tolist() == dev.labels[places].tolist()
    assert sorted(search.ids + confirm.ids) == sorted(dev.ids)
    assert search.ids == [name for name in dev.ids if name not in set(confirm.ids)]
    assert merged(np.array(search.ids, object), np.array(confirm.ids, object), places).tolist() == dev.ids
    assert search.sentences == (tuple([f"text {name}" for name in search.ids] for _ in range(1)))
    assert confirm.num_rows == round(share * dev.num_rows)


@given(labels=st.lists(st.integers(0, 4), min_size=10, max_size=200), share=st.floats(0.3, 0.7))
def test_every_class_gives_its_share_to_within_a_row(labels, share):
    dev = make_rows(SST, labels)
    kept = Counter(dev.labels[confirm_places(SST, dev, share)].tolist())
    for label, count in Counter(dev.labels.tolist()).items():
        assert abs(kept[label] - share * count) <= 1 + abs(round(share * len(labels)) - share * len(labels))


def test_every_tenth_of_the_scores_gives_its_share():
    labels = np.linspace(0, 5, 1001)
    dev = make_rows(STS, labels)
    kept = labels[confirm_places(STS, dev, 0.4)]
    counts, whole = np.histogram(kept, 10, (0, 5))[0], np.histogram(labels, 10, (0, 5))[0]
    assert np.abs(counts - 0.4 * whole).max() <= 1


@given(st.permutations(range(40)))
def test_the_order_of_the_rows_says_nothing(order):
    """Ids decide, wherever in the file they stand."""
    labels = [number % 5 for number in range(40)]
    dev = make_rows(SST, labels)
    shuffled = Rows([dev.ids[i] for i in order], (), dev.labels[order])
    kept = {dev.ids[i] for i in confirm_places(SST, dev, 0.4)}
    assert {shuffled.ids[i] for i in confirm_places(SST, shuffled, 0.4)} == kept


def test_other_ids_and_other_tasks_are_split_otherwise():
    labels = [0, 1] * 50
    one = confirm_places(QQP, make_rows(QQP, labels), 0.4)
    other_ids = confirm_places(QQP, make_rows(QQP, labels, "another"), 0.4)
    other_task = confirm_places(SST, make_rows(SST, labels), 0.4)
    assert one.tolist() != other_ids.tolist()
    assert one.tolist() != other_task.tolist()
    assert confirm_places(QQP, make_rows(QQP, labels), 0.4).tolist() == one.tolist()


@pytest.mark.parametrize(("num_rows", "share"), [(3, 0.5), (10, 0.1), (10, 0.9), (2, 0.4)])
def test_too_few_rows_are_refused(num_rows, share):
    with pytest.raises(DataError, match=rf"data.confirm_share={share:g} of {num_rows} dev rows of sst leaves"):
        confirm_places(SST, make_rows(SST, [0] * num_rows), share)


def test_the_rows_of_a_source_are_split_and_their_tokens_with_them(small_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITUNE_CACHE", str(tmp_path / "cache"))
    whole, split = (DataConfig(source=str(small_folder), confirm_share=share) for share in (0.0, 0.5))
    before, after = load_rows(whole).splits, load_rows(split).splits
    store = tokenise(split, EncoderConfig(name="tiny"))
    for name, by_split in after.items():
        assert by_split["train"].ids == before[name]["train"].ids
        assert sorted(by_split["dev"].ids + by_split["confirm"].ids) == sorted(before[name]["dev"].ids)
        assert store.table(name, "confirm").ids == by_split["confirm"].ids
        assert store.table(name, "dev").ids == by_split["dev"].ids
        assert [before[name]["dev"].ids[place] for place in store.confirm_places[name]] == by_split["confirm"].ids
    plain = tokenise(whole, EncoderConfig(name="tiny"))
    assert plain.key != store.key
    assert not plain.has("sst", "confirm")
    assert plain.confirm_places == {}


def test_what_is_scored_must_be_there():
    with pytest.raises(ConfigError, match=r"data\.confirm_share > 0 must hold with score_confirm"):
        TrialConfig().override({"score_confirm": True})
