import sys
from types import SimpleNamespace

import pytest

from trainables.config_parts import DataConfig
from trainables.data.hub import HUB_DATA, hub_folder
from trainables.data.reading import DataError, load_rows

FAKE = {
    "SetFit/sst5": {
        "train": [{"text": "a warm\tfilm\n", "label": 3, "label_text": "positive"}],
        "validation": [{"text": 'dull , "sadly"', "label": 1, "label_text": "negative"}],
        "test": [{"text": "so it goes", "label": 2, "label_text": "neutral"}],
    },
    "qqp": {
        "train": [
            {"question1": "Who won?", "question2": "Who lost?", "label": 0, "idx": 0},
            {"question1": "Who won?", "question2": "", "label": 0, "idx": 1},
        ],
        "validation": [{"question1": "How are you?", "question2": "Are you well?", "label": 1, "idx": 0}],
        "test": [{"question1": "Why?", "question2": "Who?", "label": -1, "idx": 0}],
    },
    "stsb": {
        "train": [{"sentence1": "A man sings.", "sentence2": "A guy sings.", "label": 4.75, "idx": 0}],
        "validation": [{"sentence1": "A dog runs.", "sentence2": "Prices fell.", "label": 0.0, "idx": 0}],
        "test": [{"sentence1": "x", "sentence2": "y", "label": -1.0, "idx": 0}],
    },
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITUNE_CACHE", str(tmp_path))


def fake_load(name, configuration):
    return FAKE[configuration or name]


def test_hub_data_become_cs224n_files():
    hub_folder(fake_load)
    data_set = load_rows(DataConfig(source="hub"))
    sst, qqp, sts = (data_set.splits[name] for name in ("sst", "qqp", "sts"))
    assert sst["train"].sentences == (["a warm film"],)
    assert sst["dev"].sentences == (['dull , "sadly"'],)
    assert sst["train"].labels.tolist() == [3]
    assert qqp["dev"].sentences == (["How are you?"], ["Are you well?"])
    assert sts["train"].labels.tolist() == [4.75]
    assert {split["test"].labels for split in (sst, qqp, sts)} == {None}
    assert [str(row) for row in data_set.left_out] == ["quora-train.csv line 3, column sentence2: empty"]


def test_hub_data_are_written_once(tmp_path):
    first = hub_folder(fake_load)
    assert hub_folder(None) == first
    assert not list(first.parent.glob(".aside-*"))


def test_a_failed_download_leaves_nothing():
    def fail(name, configuration):
        if configuration == "stsb":
            raise DataError(["gone"])
        return fake_load(name, configuration)

    with pytest.raises(DataError, match="gone"):
        hub_folder(fail)
    folder = hub_folder(fake_load)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def test_a_hub_data_set_that_changed_is_named():
    with pytest.raises(DataError, match="SST-5 sentiment on the hub: no split 'validation'"):
        hub_folder(lambda *_: {"train": []})
    with pytest.raises(DataError, match="no column 'text'; it has review"):
        hub_folder(lambda *_: {split: [{"review": "x"}] for split in ("train", "validation", "test")})


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install datasets==5\.2\.0"):
        load_rows(DataConfig(source="hub"))


def test_without_the_hub_the_error_says_what_to_do(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=fake_load))
    monkeypatch.setattr("trainables.data.hub.reach_hub", unreachable)
    with pytest.raises(DataError, match=r"cannot be reached \(ConnectionError\).*--data DIR"):
        load_rows(DataConfig(source="hub"))
    monkeypatch.setattr("trainables.data.hub.reach_hub", lambda: None)
    assert load_rows(DataConfig(source="hub")).splits["sts"]["train"].num_rows == 1


def test_a_download_that_breaks_off_is_named(monkeypatch):
    def broken(*_):
        raise OSError("reset by peer")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=broken))
    monkeypatch.setattr("trainables.data.hub.reach_hub", lambda: None)
    with pytest.raises(DataError, match="SetFit/sst5 cannot be downloaded"):
        load_rows(DataConfig(source="hub"))
    assert len(HUB_DATA) == 3
