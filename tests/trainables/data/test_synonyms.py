from pathlib import Path

import pytest

from trainables.data import synonyms
from trainables.data.rows import DataError
from trainables.data.synonyms import FIXED_WORDS, WORDNET_FILES, find_synonyms, neighbours, synonym_hashes
from trainables.encoder_files import find_encoder

LINES = {
    "data.noun": "00001740 03 n 03 film 0 movie 1 moving-picture 0 001 @ 00001930 n 0000 | a gloss with film in it",
    "data.verb": "00001740 29 v 02 film 0 shoot 0 001 * 00005041 v 0000 01 + 02 00 | record on film",
    "data.adj": "00001740 00 a 02 big(a) 0 not 0 000 | large",
    "data.adv": "00001740 02 r 01 alone 0 000 | without anybody",
}


@pytest.fixture
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, line in LINES.items():
        (tmp_path / name).write_text(f"  1 This software and database is licensed film movie\n{line}\n", encoding="utf-8")
    monkeypatch.setenv(synonyms.WORDNET_VARIABLE, str(tmp_path))
    return tmp_path


def test_neighbours_in_the_packaged_table():
    found = find_synonyms(["film", "terrible", "good", "not", "two", "never", "monday", "qwxz", "?"])
    assert found["terrible"][:2] == ("horrible", "awful")
    assert found["film"][:2] == ("films", "movie")
    assert found["good"] == ("excellent",)  # bad is 0.53 near
    assert found.keys() == {"film", "terrible", "good"}


def test_no_synonym_is_the_word_itself_or_fixed():
    words = sorted(FIXED_WORDS | {"film", "movie", "house", "houses", "positive", "bright"})
    for word, near in find_synonyms(words).items():
        assert word not in FIXED_WORDS
        assert 1 <= len(near) <= synonyms.MAX_NEIGHBOURS
        assert len(set(near)) == len(near)
        assert not {word, *FIXED_WORDS} & set(near)


def test_neighbours_do_not_hang_on_what_else_is_asked():
    files = find_encoder("packaged")
    many = neighbours(files, ["terrible", "film", "run", "house"])
    assert all(neighbours(files, [word])[word] == near for word, near in many.items())


def test_words_that_share_a_set_in_wordnet(wordnet: Path):
    found = find_synonyms(["film", "movie", "big", "alone", "licensed"])
    assert found["film"] == ("movie", "moving picture", "shoot")
    assert found["movie"] == ("film", "moving picture")
    assert set(found) == {"film", "movie"}  # `not` stays out, a word is no synonym of itself, the licence is no entry


def test_wordnet_is_part_of_the_hashes(wordnet: Path, monkeypatch: pytest.MonkeyPatch):
    before = synonym_hashes()
    assert list(before) == [f"wordnet {name}" for name in WORDNET_FILES]
    with (wordnet / "data.noun").open("a", encoding="utf-8") as file:
        file.write("00001741 03 n 02 cat 0 feline 0 000 | an animal\n")
    after = synonym_hashes()
    assert [name for name in before if before[name] != after[name]] == ["wordnet data.noun"]
    monkeypatch.delenv(synonyms.WORDNET_VARIABLE)
    assert synonym_hashes() == {}


def test_a_folder_without_wordnet_is_told(wordnet: Path):
    (wordnet / "data.adj").unlink()
    for call in (synonym_hashes, lambda: find_synonyms(["film"])):
        with pytest.raises(DataError, match=r"no data\.adj there"):
            call()
