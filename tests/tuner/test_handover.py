import threading
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


def test_what_a_killed_writer_had_moved_away_is_put_back(tmp_path: Path) -> None:
    """Killed between its two renames, it leaves the old one and the new one, and none under the name."""
    for name, text in ((".out.old", "old"), (".out.new", "new")):
        write(tmp_path / name, text)
    with pytest.raises(KeyboardInterrupt):
        fail_after_writing(tmp_path / "out")
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_writers_of_one_folder_wait_for_each_other(tmp_path: Path) -> None:
    started, done = threading.Event(), []

    def second() -> None:
        started.set()
        with written_whole(tmp_path / "out") as aside:
            done.append("second")
            write(aside, "second")

    with written_whole(tmp_path / "out") as aside:
        thread = threading.Thread(target=second)
        thread.start()
        started.wait()
        write(aside, "first")
        thread.join(0.2)
        assert done == []
    thread.join()
    assert done == ["second"] and (tmp_path / "out" / "a").read_text() == "second"


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
