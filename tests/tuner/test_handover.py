from pathlib import Path

import pytest

from tuner.handover import problems_of_out, written_whole


def write(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "a").write_text(text)


@pytest.mark.parametrize("leftovers", [(), (".out.new",), (".out.old",), (".out.new", ".out.old")])
def test_the_new_one_takes_the_place_of_the_old(tmp_path: Path, leftovers: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    for text in ("first", "second"):
        for name in leftovers:
            write(tmp_path / name, "what a killed writer left")
        with written_whole(out) as aside:
            assert not aside.exists() and aside.parent == tmp_path
            write(aside, text)
        assert (out / "a").read_text() == text
        assert list(tmp_path.iterdir()) == [out]


def test_the_old_one_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "old")
    with written_whole(out) as aside:
        write(aside, "new")
        assert (out / "a").read_text() == "old"


def fail_after_writing(folder: Path) -> None:
    with written_whole(folder) as aside:
        write(aside, "new")
        raise KeyboardInterrupt


def test_what_goes_wrong_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "old")
    with pytest.raises(KeyboardInterrupt):
        fail_after_writing(out)
    assert (out / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    with written_whole(tmp_path / "x" / "y" / "out") as aside:
        write(aside, "new")
    assert (tmp_path / "x" / "y" / "out" / "a").read_text() == "new"


@pytest.mark.parametrize(
    ("names", "why"),
    [((), None), (("a", "b"), None), (("a", "b", "c"), None), (("a",), "it has no b"), (("a", "b", "d"), "it holds d")],
)
def test_what_may_be_written_over(tmp_path: Path, names: tuple[str, ...], why: str | None) -> None:
    for name in names:
        (tmp_path / name).touch()
    found = problems_of_out(tmp_path, "a thing", needed=("a", "b"), known=("a", "b", "c"))
    rule = "is not empty and not a thing"
    assert found == ([f"--out: {tmp_path} {rule} ({why}); a folder that is new or empty must be given"] if why else [])
    assert problems_of_out(tmp_path / "new", "a thing", needed=("a",), known=("a",)) == []
