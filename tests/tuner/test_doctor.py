"""Each thing that the doctor looks at is broken in turn; what is whole has nothing to do."""

import os
import shutil
import sqlite3
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.tuner.test_recovery import HEADER
from tests.tuner.test_referee import by_number, drive
from trainables.checkpoints import write_checkpoint
from tuner import doctor
from tuner.backup import Keeper
from tuner.seals import SEALS, seals
from tuner.search_folder import BEST, locked, trial_folder
from tuner.store_check import BACKUP_FILE, RECORD_FILE
from tuner.stores import LEDGER_FILE


def save(folder: Path, name: str = "report-0001") -> Path:
    return write_checkpoint(folder, name, lambda aside: (aside / "model.safetensors").write_bytes(bytes(1000)))


def close_to_others(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.fixture(scope="module")
def template(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("doctor") / "search"
    ledger = toy.new_ledger(folder)
    for key, value in {SEALS: seals({}, HEADER), **HEADER, "ended": "complete"}.items():
        ledger.set_header(key, value)
    keeper = Keeper(folder)
    drive(toy, ledger, by_number, keeper)
    keeper.close()
    ledger._engine.dispose()
    save(trial_folder(folder, 0) / "checkpoints")
    save(trial_folder(folder, 1), BEST)
    (folder / "mirror.log").write_text("MLflow holds the whole search; sent: 5 runs\n")
    return folder


@pytest.fixture
def search(template: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(template, tmp_path / "search"))
    close_to_others(folder)
    return folder


def examined(folder: Path) -> tuple[int, list[str]]:
    done = CliRunner().invoke(doctor.app, [str(folder)])
    return done.exit_code, [line for line in done.output.splitlines() if line.startswith("to do: ")]


def test_a_whole_search_has_nothing_to_do(search: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in search.rglob("*") if "-shm" not in path.name)
    assert examined(search) == (doctor.EXIT_HEALTHY, [])
    after = sorted(
        (path, path.stat().st_mtime_ns) for path in search.rglob("*") if path.suffix not in {".lock"} and "-" not in path.name
    )
    assert set(after) <= set(before)


def damage_ledger(folder: Path) -> None:
    (folder / LEDGER_FILE).write_bytes(b"")


def damage_backup(folder: Path) -> None:
    (folder / BACKUP_FILE).write_bytes(b"SQLite")


def change_a_score(folder: Path) -> None:
    with sqlite3.connect(folder / LEDGER_FILE) as connection:
        connection.execute("UPDATE trial_intermediate_values SET intermediate_value = 0.25")
    connection.close()


def damage_record(folder: Path) -> None:
    (trial_folder(folder, 2) / RECORD_FILE).write_text("{}")


def damage_checkpoint(folder: Path) -> None:
    (trial_folder(folder, 0) / "checkpoints" / "report-0001" / "model.safetensors").write_bytes(b"")


def damage_kept_model(folder: Path) -> None:
    (trial_folder(folder, 1) / BEST / "manifest.json").unlink()


def make_orphan(folder: Path) -> None:
    save(folder / "trials" / "backup-of-mine")


def leave_something(folder: Path) -> None:
    (trial_folder(folder, 0) / "checkpoints" / ".aside-report-0002").mkdir()


def put_a_ledger_aside(folder: Path) -> None:
    shutil.copy2(folder / LEDGER_FILE, folder / f"{LEDGER_FILE}.damaged-1")


def end_mirror_early(folder: Path) -> None:
    (folder / "mirror.log").write_text("the MLflow mirror is not complete: 2 trials, 9 reports are missing\n")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage_ledger, [f"{LEDGER_FILE}: empty", "--resume"]),
        (damage_backup, [BACKUP_FILE, "--resume"]),
        (change_a_score, ["trial 0", "the ledger lacks", "--resume"]),
        (damage_record, [RECORD_FILE, "--resume"]),
        (damage_checkpoint, ["report-0001/model.safetensors: 0 bytes", "rm -r"]),
        (damage_kept_model, ["best: no manifest.json", "--trial N"]),
        (make_orphan, ["backup-of-mine: no trial of the ledger", "rm -r"]),
        (leave_something, [".aside-report-0002: left by a process", "rm -r"]),
        (put_a_ledger_aside, [f"{LEDGER_FILE}.damaged-1", "rm "]),
        (end_mirror_early, ["2 trials, 9 reports are missing", "tuner.tracking sync"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_broken_is_named_with_what_to_do(search: Path, harm: Callable[[Path], None], words: list[str]) -> None:
    harm(search)
    close_to_others(search)
    code, lines = examined(search)
    assert code == doctor.EXIT_TO_DO
    assert any(all(word in line for word in words) for line in lines), lines


@pytest.mark.parametrize("name", ["mirror.log", "trials"])
def test_what_others_may_read_is_named(search: Path, name: str) -> None:
    os.chmod(search / name, 0o755)
    code, [line] = examined(search)
    assert code == doctor.EXIT_TO_DO
    assert f"1 files and folders can be read by others: {search / name}: chmod -R go-rwx" in line


def test_too_little_room_is_named(search: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 9, 1))
    code, [line] = examined(search)
    assert code == doctor.EXIT_TO_DO
    assert "0 MiB free; a trial needs" in line and "make room" in line


def test_a_driver_at_work_is_not_told_to_clear_up_its_own(search: Path) -> None:
    leave_something(search)
    close_to_others(search)
    with locked(search):
        close_to_others(search)
        assert examined(search) == (doctor.EXIT_HEALTHY, [])


def test_no_search_is_a_mistake(tmp_path: Path) -> None:
    done = CliRunner().invoke(doctor.app, [str(tmp_path)])
    assert done.exit_code == doctor.EXIT_MISTAKE
    assert "no search stands here" in done.output
