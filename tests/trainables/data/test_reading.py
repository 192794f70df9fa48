import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config_parts import DataConfig
from trainables.data import reading
from trainables.data.reading import DataError, hash_source, load_rows, normalise_text
from trainables.tasks import CS224N, TaskSet


def load(folder: Path, **settings):
    return load_rows(DataConfig(source=str(folder), **settings))


def test_reads_all_files_of_a_folder(cs224n_folder, good_rows):
    data_set = load(cs224n_folder)
    assert data_set.folder == cs224n_folder
    for name, task in CS224N.by_name.items():
        for split in ("train", "dev"):
            rows = data_set.splits[name][split]
            assert rows.ids == [f"{split}{i}" for i in range(len(good_rows[name]))]
            assert [list(column) for column in rows.sentences] == [
                [row[i] for row in good_rows[name]] for i in range(len(task.sentence_columns))
            ]
            assert rows.labels.tolist() == pytest.approx([row[-1] for row in good_rows[name]])
    assert {name: "test" in splits for name, splits in data_set.splits.items()} == {"sst": True, "qqp": False, "sts": False}


def test_rows_in_are_rows_used_and_rows_listed(cs224n_folder):
    with (cs224n_folder / "quora-train.csv").open("a") as file:
        file.write("2\tx\tWhat?\t\t\n3\ty\tWhat?\tWho?\t\n")
    data_set = load(cs224n_folder)
    used = sum(rows.num_rows for splits in data_set.splits.values() for rows in splits.values())
    assert sum(data_set.rows_read.values()) == used + len(data_set.left_out)
    assert data_set.rows_read["quora-train.csv"] == 4
    assert [str(row) for row in data_set.left_out] == [
        "quora-train.csv line 4, column sentence2, is_duplicate: empty",
        "quora-train.csv line 5, column is_duplicate: empty",
    ]


def test_hashes_are_of_the_raw_files(cs224n_folder):
    hashes = load(cs224n_folder, normalise_text=True).hashes
    assert hashes == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in cs224n_folder.iterdir()}
    assert hashes == hash_source(DataConfig(source=str(cs224n_folder)))


def test_mistakes_of_all_files_come_together(cs224n_folder):
    (cs224n_folder / "ids-sst-dev.csv").write_text("")
    (cs224n_folder / "sts-dev.csv").write_text("\tid\tsentence1\tsentence2\tsimilar\n0\ta\tx\ty\t1\n")
    with (cs224n_folder / "quora-train.csv").open("a") as file:
        file.writelines(f"{i}\tx\tWhat?\tWho?\t7\n" for i in range(12))
    with pytest.raises(DataError) as caught:
        load(cs224n_folder)
    problems = caught.value.problems
    assert len(problems) == 1 + 11 + 1
    assert "ids-sst-dev.csv: the file is empty" in problems[0]
    assert "quora-train.csv line 4, column is_duplicate" in problems[1]
    assert problems[11].endswith("quora-train.csv: and 2 more")
    assert "did you mean similar?" in problems[12]
    assert str(caught.value) == "\n".join(problems)


def test_missing_files_and_folders_are_named(cs224n_folder, tmp_path):
    (cs224n_folder / "quora-dev.csv").unlink()
    (cs224n_folder / "sts-train.csv").unlink()
    with pytest.raises(DataError) as caught:
        load(cs224n_folder)
    assert [problem.split("/")[-1] for problem in caught.value.problems] == [
        "quora-dev.csv: no such file",
        "sts-train.csv: no such file",
    ]
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="this is a file"):
        load(cs224n_folder / "quora-train.csv")
    with pytest.raises(DataError, match="did you mean sample"):
        load_rows(DataConfig(source="smaple"))
    for call in (load_rows, hash_source):
        with pytest.raises(DataError, match="no such folder"):
            call(DataConfig(source=str(tmp_path / "nowhere")))


@given(st.text())
def test_normalised_text_is_lower_and_squeezed_and_stays_so(text):
    once = normalise_text(text)
    assert once == " ".join(once.split())
    assert normalise_text(once) == normalise_text(normalise_text(once))
    assert once.replace(" ", "") == "".join(text.lower().split())


def test_normalised_text_is_that_of_cs224n():
    assert normalise_text("It's A  film,\tno? Yes...") == "it 's a film , no ? yes . . ."


def test_normalisation_is_an_option(cs224n_folder):
    assert load(cs224n_folder).splits["sst"]["dev"].sentences[0][2] == "It's fine."
    assert load(cs224n_folder, normalise_text=True).splits["sst"]["dev"].sentences[0][2] == "it 's fine ."
    assert load_rows(DataConfig(normalise_text=True)).splits["qqp"]["test"].sentences[0][0].endswith(" ?")


def test_the_sample_is_a_source():
    data_set = load_rows(DataConfig())
    assert data_set.folder is None
    assert data_set.left_out == []
    assert data_set.rows_read == {"sample": 6000}
    assert data_set.hashes == hash_source(DataConfig())


@pytest.mark.skipif("TRITUNE_CS224N_DATA" not in os.environ, reason="set TRITUNE_CS224N_DATA to the folder with the real files")
def test_the_real_files_lose_no_row():
    data_set = load(Path(os.environ["TRITUNE_CS224N_DATA"]))
    used = sum(rows.num_rows for splits in data_set.splits.values() for rows in splits.values())
    assert sum(data_set.rows_read.values()) == used + len(data_set.left_out) == 36762
    assert [str(row) for row in data_set.left_out] == [
        "quora-train.csv line 2065, column is_duplicate: empty",
        "quora-train.csv line 11420, column sentence2, is_duplicate: empty",
    ]


def test_mistakes_are_found_without_making_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Any:
        raise AssertionError("nobody asked for its rows")

    monkeypatch.setattr(reading, "make_sample", make)
    reading.look_at_rows(DataConfig())
    with pytest.raises(DataError, match="not for strange; --data DIR reads files"):
        reading.look_at_rows(DataConfig(), TaskSet(tasks=(CS224N.tasks[0].model_copy(update={"name": "strange"}),)))
    with pytest.raises(DataError, match="no such folder"):
        reading.look_at_rows(DataConfig(source=str(tmp_path / "nowhere")))
