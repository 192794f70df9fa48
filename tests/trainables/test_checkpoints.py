import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from trainables.checkpoints import (
    checkpoints,
    keep_newest,
    link_or_copy,
    newest_good,
    number_of,
    remove_leftovers,
    verify,
    write_checkpoint,
)


def fill(text: str):
    def write(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "weights").write_text(text * 1000)
        (folder / "state").write_text(text)

    return write


def hidden(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir() if path.name.startswith(".")]


def test_what_is_written_is_whole_and_alone(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "new" / "parent", "report-0001", fill("a"))
    assert verify(folder) == []
    assert (folder / "inner" / "weights").read_text() == "a" * 1000
    assert hidden(folder.parent) == []


def test_one_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "best", fill("a"))
    folder = write_checkpoint(tmp_path, "best", fill("b"))
    assert (folder / "state").read_text() == "b"
    assert verify(folder) == []
    assert hidden(tmp_path) == []


def test_a_full_disk_leaves_the_older_one(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "report-1", fill("a"))

    def out_of_space(folder: Path) -> None:
        fill("b")(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path, "report-2", out_of_space)
    assert newest_good(tmp_path) == tmp_path / "report-1"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("call", ["hashlib.file_digest", "os.fsync", "pathlib.Path.rename", "pathlib.Path.write_text"])
@pytest.mark.parametrize("nth", [1, 2])
def test_killed_at_any_point_an_older_one_loads(tmp_path: Path, call: str, nth: int) -> None:
    write_checkpoint(tmp_path, "report-1", fill("a"))
    module, _, name = call.rpartition(".")
    script = f"""
        import os, pathlib, hashlib, signal
        from trainables.checkpoints import keep_newest, write_checkpoint
        real, calls = {call}, []
        def deadly(*args, **kwargs):
            calls.append(1)
            if len(calls) == {nth}:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        {module}.{name} = deadly
        def write(folder):
            (folder / "state").write_bytes(b"b" * 1000)
            (folder / "more").write_bytes(b"c" * 1000)
        write_checkpoint(pathlib.Path({str(tmp_path)!r}), "report-2", write)
        keep_newest(pathlib.Path({str(tmp_path)!r}), 1)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    code = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode
    assert code == -signal.SIGKILL
    found = newest_good(tmp_path)
    assert found in (tmp_path / "report-1", tmp_path / "report-2")
    write_checkpoint(tmp_path, "report-3", fill("d"))
    assert newest_good(tmp_path) == tmp_path / "report-3"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    ("call", "nth", "text"),
    [
        ("hashlib.file_digest", 1, "a"),
        ("pathlib.Path.rename", 1, "a"),
        ("pathlib.Path.rename", 2, "a"),
        ("shutil.rmtree", 1, "b"),
        ("os.unlink", 1, "b"),
    ],
)
def test_killed_while_one_of_the_same_name_is_replaced_one_of_the_two_is_there(
    tmp_path: Path, call: str, nth: int, text: str
) -> None:
    write_checkpoint(tmp_path, "best", fill("a"))
    module, _, name = call.rpartition(".")
    script = f"""
        import os, pathlib, hashlib, shutil, signal
        from trainables.checkpoints import write_checkpoint
        real, calls = {call}, []
        def deadly(*args, **kwargs):
            calls.append(1)
            if len(calls) == {nth}:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        {module}.{name} = deadly
        write_checkpoint(pathlib.Path({str(tmp_path)!r}), "best", lambda folder: (folder / "state").write_text("b"))
    """
    code = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode
    assert code == -signal.SIGKILL
    assert hidden(tmp_path) != []
    remove_leftovers(tmp_path)
    assert (tmp_path / "best" / "state").read_text() == text
    assert verify(tmp_path / "best") == []
    assert hidden(tmp_path) == []


def test_one_of_the_same_name_stays_where_the_new_one_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, "best", fill("a"))
    real = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.name.startswith(".aside-"):
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(OSError, match="Input/output"):
        write_checkpoint(tmp_path, "best", fill("b"))
    assert (tmp_path / "best" / "state").read_text() == "a"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda f: (f / "state").unlink(), "state: missing"),
        (lambda f: (f / "state").write_text(""), "state: 0 bytes, but the manifest says 1"),
        (lambda f: (f / "state").write_text("x"), "state: its content is not what the manifest says"),
        (lambda f: (f / "extra").write_text("x"), "extra: not in the manifest"),
        (lambda f: (f / "manifest.json").unlink(), "no manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json: cannot be read"),
        (lambda f: (f / "manifest.json").write_text("[1]"), "manifest.json: cannot be read"),
        (lambda f: (f / "manifest.json").write_text('{"state": 3}'), "manifest.json: cannot be read"),
        (lambda f: shutil.rmtree(f / "inner"), "inner/weights: missing"),
    ],
)
def test_damage_is_named_and_passed_over(tmp_path: Path, damage, problem: str) -> None:
    good, bad = write_checkpoint(tmp_path, "report-9", fill("a")), write_checkpoint(tmp_path, "report-10", fill("b"))
    damage(bad)
    said: list[str] = []
    assert newest_good(tmp_path, said.extend) == good
    assert len(said) == 1
    assert said[0].endswith(problem)


def test_they_sort_by_number(tmp_path: Path) -> None:
    for name in ("report-10", "report-9", "report-0011", "best", ".aside-report-12"):
        (tmp_path / name).mkdir()
    assert [folder.name for folder in checkpoints(tmp_path)] == ["report-9", "report-10", "report-0011"]
    assert number_of(tmp_path / "report-0011") == 11


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for number in range(4):
        write_checkpoint(tmp_path, f"report-{number}", fill("a"))
    keep_newest(tmp_path, 2)
    assert [folder.name for folder in checkpoints(tmp_path)] == ["report-2", "report-3"]
    keep_newest(tmp_path, 5)
    assert len(checkpoints(tmp_path)) == 2


def test_no_folder_no_checkpoint(tmp_path: Path) -> None:
    assert newest_good(tmp_path / "nothing") is None
    assert newest_good(tmp_path) is None


def test_linked_files_outlive_their_checkpoint_even_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    link_or_copy(source, tmp_path / "in" / "linked")
    assert (tmp_path / "in" / "linked").stat().st_ino == source.stat().st_ino

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, tmp_path / "in" / "copied")
    source.unlink()
    assert (tmp_path / "in" / "linked").read_text() == (tmp_path / "in" / "copied").read_text() == "x"


def test_what_may_not_be_written_any_more_gets_no_name(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "best", fill("a"))

    def refuse() -> None:
        raise RuntimeError("another worker has it")

    with pytest.raises(RuntimeError, match="another worker"):
        write_checkpoint(tmp_path, "best", fill("b"), check=refuse)
    assert verify(tmp_path / "best") == [] and (tmp_path / "best" / "state").read_text() == "a"
    assert hidden(tmp_path) == []


def test_of_two_writers_the_one_that_fails_leaves_the_others_files(tmp_path: Path) -> None:
    """As a worker that wakes up on a machine that was frozen, while another one writes the same checkpoint."""
    is_frozen, thawed = threading.Event(), threading.Event()

    def write_late(_folder: Path) -> None:
        is_frozen.set()
        thawed.wait()
        raise OSError("its folder is gone")

    def begin_late() -> None:
        with pytest.raises(OSError, match="its folder is gone"):
            write_checkpoint(tmp_path, "report-1", write_late)

    def write(folder: Path) -> None:
        fill("a")(folder)
        thawed.set()
        late.join()

    late = threading.Thread(target=begin_late)
    late.start()
    is_frozen.wait()
    write_checkpoint(tmp_path, "report-1", write)
    assert verify(tmp_path / "report-1") == [] and (tmp_path / "report-1" / "state").read_text() == "a"
    assert hidden(tmp_path) == []
