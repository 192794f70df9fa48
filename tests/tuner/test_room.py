import errno
from pathlib import Path

import pytest

from trainables.disk import is_disk_full
from tuner import room
from tuner.room import MIB, RESERVES, TEXT_BYTES, Room, check_room, describe_need, most_bytes, used_bytes, usual_bytes


@pytest.mark.parametrize("name", RESERVES)
def test_the_reserve_is_the_border(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda _folder: RESERVES[name])
    check_room(name, tmp_path)
    monkeypatch.setattr(room, "free_bytes", lambda _folder: RESERVES[name] - MIB // 2)
    with pytest.raises(OSError, match=f"MiB are free in {name}, at least {RESERVES[name] / MIB:g} MiB must be") as caught:
        check_room(name, tmp_path)
    assert is_disk_full(caught.value) and caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path)


def test_it_looks_once_a_second_at_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, looked = [10.0], []
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(room, "check_room", lambda name, _folder: looked.append(name))
    places = Room(dict.fromkeys(RESERVES, tmp_path))
    for moment in (10.0, 10.5, 10.9, 11.0, 11.1):
        now[0] = moment
        places.check()
    assert looked == [*RESERVES, *RESERVES]


def test_a_folder_that_is_gone_is_left_to_whoever_writes_there(tmp_path: Path) -> None:
    for name in RESERVES:
        check_room(name, tmp_path / "gone")
        check_room(name, tmp_path)


def test_between_two_reports_a_search_takes_what_it_keeps() -> None:
    sizes = {"model_bytes": 10**6, "checkpoint_bytes": 3 * 10**6, "num_trials": 7, "keep_models": 4}
    assert usual_bytes(**sizes, slots=2) == 2 * 2 * 3 * 10**6 + 4 * 10**6 + 7 * TEXT_BYTES
    writing = 2 * (3 + 2) * 10**6 + 10**6
    assert most_bytes(**sizes, slots=2) == usual_bytes(**sizes, slots=2) + writing


def test_what_is_needed_is_told_with_a_warning_where_less_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda _folder: 80 * 10**9)
    assert describe_need(tmp_path, 1_200_000_000) == "on disk at most 1.2 GB (trials and ledger); 80.0 GB are free"
    monkeypatch.setattr(room, "free_bytes", lambda _folder: 3 * 10**6)
    need = "on disk at most 4 MB (trials and ledger); 3 MB are free"
    assert describe_need(tmp_path, 4_000_000) == f"{need}; a full disk ends the search with exit code 4"
    (tmp_path / "taken").write_bytes(bytes(2_000_000))
    (tmp_path / "again").hardlink_to(tmp_path / "taken")
    assert describe_need(tmp_path, 4_000_000) == need, "what lies there already is part of it"
    assert used_bytes(tmp_path) < 3_000_000
