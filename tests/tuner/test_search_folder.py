import datetime
import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.parts import ConfigError
from tuner.search_folder import check_new, claimed, default_folder, is_live, locked, trial_folder, write_json

HOLDER = """
import sys, time
from pathlib import Path
from tuner.search_folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_search_is_named_by_day_and_space_and_never_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    day = datetime.date(2026, 11, 21)
    assert default_folder("leaderboard", day) == Path("runs/2026-11-21-leaderboard")
    assert default_folder("spaces/mine.yaml", day) == Path("runs/2026-11-21-mine")
    for number in (1, 2, 3):
        folder = default_folder("leaderboard", day)
        assert folder.name == "2026-11-21-leaderboard" + ("" if number == 1 else f"-{number}")
        folder.mkdir(parents=True)


def test_a_folder_is_claimed_by_one_and_gone_where_its_maker_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    day = datetime.date(2026, 11, 21)
    with claimed("ensemble", day) as first, claimed("ensemble", day) as second:
        assert (first.name, second.name) == ("2026-11-21-ensemble", "2026-11-21-ensemble-2")
        (first / "mine").touch()
    assert first.is_dir() and second.is_dir()
    with pytest.raises(KeyboardInterrupt), claimed("ensemble", day) as third:
        raise KeyboardInterrupt
    assert not third.exists()


def test_a_new_search_needs_a_folder_of_its_own(tmp_path: Path) -> None:
    assert check_new(tmp_path / "new") == []
    assert check_new(tmp_path) == []
    (tmp_path / "file").write_text("mine")
    assert check_new(tmp_path / "file") == [f"--out: {tmp_path / 'file'} is a file; a folder that is new or empty must be given"]
    assert check_new(tmp_path) == [f"--out: {tmp_path} is not empty and no search; a folder that is new or empty must be given"]
    (tmp_path / "study.db").write_text("")
    assert check_new(tmp_path) == [
        f"--out: {tmp_path} is another search; give another folder, or go on with it: --resume {tmp_path}"
    ]


def test_a_lock_that_was_left_makes_no_folder_full(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert check_new(tmp_path) == []
    (tmp_path / "notes.txt").write_text("mine")
    assert len(check_new(tmp_path)) == 1


def test_folders_of_trials_sort_by_number() -> None:
    folders = [str(trial_folder(Path("s"), number)) for number in (0, 9, 10, 999)]
    assert folders == sorted(folders) and folders[2] == "s/trials/0010"


def test_a_search_is_live_while_it_is_held(tmp_path: Path) -> None:
    assert not is_live(tmp_path)
    with locked(tmp_path):
        assert is_live(tmp_path)
    assert not is_live(tmp_path)
    assert stat.S_IMODE((tmp_path / ".lock").stat().st_mode) == 0o600


def test_two_who_ask_at_once_do_not_take_each_other_for_a_driver(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    with (tmp_path / ".lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # one that asks, in the middle of it
        assert not is_live(tmp_path)


def test_a_link_or_a_pipe_in_the_locks_place_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    assert not is_live(tmp_path)
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    assert not is_live(tmp_path)
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_second_driver_is_kept_out_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert is_live(tmp_path)
        with pytest.raises(ConfigError, match="another driver is at work on this search"), locked(tmp_path):
            pytest.fail("two drivers")
        holder.kill()
    assert not is_live(tmp_path)
    with locked(tmp_path):
        pass


def test_the_lock_goes_when_a_driver_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 // 0
    assert not is_live(tmp_path)


def test_json_is_read_back(tmp_path: Path) -> None:
    value = {"ä": [1, 2.5, None, True], "b": {"c": "d"}}
    write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value
    assert os.listdir(tmp_path) == ["x.json"]
