import hashlib
from pathlib import Path

import pytest

from trainables.config import TrialConfig
from trainables.config_parts import DataConfig, EdaConfig, EncoderConfig
from trainables.data.more_rows import absolute_files, names_beside
from trainables.data.reading import DataError, hash_source, load_rows
from trainables.data.tokens import store_key, tokenise
from trainables.tasks import CS224N

TINY = EncoderConfig(name="tiny")
HEADER = "\tid\tsentence\tsentiment\n"


@pytest.fixture
def more(cs224n_folder: Path) -> Path:
    path = cs224n_folder / "more.csv"
    path.write_text(HEADER + "0\ttrain0\tso warm\t4\n1\tnew\tso cold\t0\n2\tx\t\t0\n", encoding="utf-8")
    return path


def config(folder: Path, *files: object, **settings: object) -> DataConfig:
    return DataConfig(source=str(folder), more_rows={"sst": tuple(map(str, files))}, **settings)


def test_rows_are_appended_and_taken_ids_are_told_apart(cs224n_folder: Path, more: Path):
    own, data_set = load_rows(config(cs224n_folder)), load_rows(config(cs224n_folder, "more.csv"))
    rows, before = data_set.splits["sst"]["train"], own.splits["sst"]["train"]
    assert rows.ids == [*before.ids, "train0@more.csv", "new"]
    assert list(rows.sentences[0]) == [*before.sentences[0], "so warm", "so cold"]
    assert rows.labels.tolist() == [*before.labels.tolist(), 4, 0]
    assert data_set.splits["sst"]["dev"].ids == own.splits["sst"]["dev"].ids
    assert [str(row) for row in data_set.left_out] == ["more.csv line 4, column sentence: empty"]
    assert data_set.rows_read == own.rows_read | {"more.csv": 3}
    assert data_set.hashes == own.hashes | {"more.csv": hashlib.sha256(more.read_bytes()).hexdigest()}
    assert data_set.hashes == hash_source(config(cs224n_folder, "more.csv"))


def test_the_sample_takes_more_rows_from_the_working_directory(more: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(more.parent)
    data = DataConfig(more_rows={"sst": ("more.csv",)})
    assert load_rows(data).splits["sst"]["train"].ids[-1] == "new"
    assert hash_source(data).keys() == {"sample", "more.csv"}


def test_names_are_looked_for_in_the_folder_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_files(["a.csv", "/b.csv"], "data") == [str(tmp_path / "data" / "a.csv"), "/b.csv"]
    assert absolute_files(["a.csv", "/b.csv"], "sample") == [str(tmp_path / "a.csv"), "/b.csv"]


def test_mistakes_in_them_are_told_with_all_others(cs224n_folder: Path, more: Path):
    (cs224n_folder / "sts-dev.csv").write_text("")
    more.write_text(HEADER + "0\ta\tfine\t7\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_rows(config(cs224n_folder, "more.csv"))
    assert [problem.split("/")[-1].split(":")[0] for problem in caught.value.problems] == [
        "sts-dev.csv",
        "more.csv line 2, column sentiment",
    ]


@pytest.mark.parametrize("call", [load_rows, hash_source])
def test_a_missing_file_is_told_with_what_makes_it(cs224n_folder: Path, call):
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file; python -m trainables\.outside"):
        call(config(cs224n_folder, "nowhere.csv"))


def test_no_two_files_have_one_name(cs224n_folder: Path, tmp_path: Path):
    (tmp_path / "ids-sst-train.csv").write_text(HEADER + "0\ta\tfine\t3\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"another file is called ids-sst-train\.csv"):
        load_rows(config(cs224n_folder, tmp_path / "ids-sst-train.csv"))


def test_the_key_is_as_it_was_where_nothing_is_added(cs224n_folder: Path, more: Path):
    def key(data: DataConfig) -> str:
        return store_key(data, TINY, CS224N, "tokenizer", hash_source(data))

    plain = key(DataConfig(source=str(cs224n_folder)))
    assert key(config(cs224n_folder, eda=EdaConfig(copies={"sst": 0}, share=0.5))) == plain
    eda = [EdaConfig(copies={"sst": 1}), EdaConfig(copies={"sst": 2}), EdaConfig(copies={"qqp": 1})]
    eda += [EdaConfig(copies={"sst": 1}, share=0.5)]
    keys = [key(config(cs224n_folder, eda=one)) for one in eda]
    keys += [key(config(cs224n_folder, "more.csv")), key(config(cs224n_folder, "more.csv", eda=eda[0]))]
    assert len({plain, *keys}) == 7


def test_further_rows_are_copied_too_and_all_copies_stand_last(cs224n_folder: Path, more: Path):
    store = tokenise(config(cs224n_folder, "more.csv", eda=EdaConfig(copies={"sst": 2})), TINY)
    ids = store.table("sst", "train").ids
    assert ids[:5] == ["train0", "train1", "train2", "train0@more.csv", "new"]
    assert ids[5:] == [f"{name}~{copy}" for name in ids[:5] for copy in (1, 2)]
    assert store.table("sst", "dev").num_rows == 3
    assert store.table("qqp", "train").num_rows == 2


def test_files_in_the_sources_folder_go_by_their_names() -> None:
    more = {"sst": ["/data/a.csv", "/other/b.csv"], "qqp": ["/other/c.csv"]}
    data = TrialConfig().override({"data.source": "/data", "data.more_rows": more}).data
    assert names_beside(data) == {"sst": ["a.csv", "/other/b.csv"]}
    assert names_beside(data.model_copy(update={"source": "sample"})) == {}
