import errno
from pathlib import Path

import pytest

from trainables.disk import is_disk_full
from tuner import room
from tuner.room import MIB, RESERVES, Room, check_room


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
