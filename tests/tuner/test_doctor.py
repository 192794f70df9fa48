"""Each thing that the doctor looks at is broken in turn; what is whole has nothing to do."""

import itertools
import json
import os
import shutil
import sqlite3
import threading
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.tuner.played_search import by_number, drive, referee_of
from tests.tuner.test_recovery import HEADER
from trainables.checkpoints import write_checkpoint
from tuner import doctor
from tuner.backup import Keeper
from tuner.ledger import Ledger
from tuner.ledger_places import BACKUP_FILE, LEDGER_FILE, POINTER_FILE, RECORD_FILE
from tuner.records import rank
from tuner.seals import SEALS, seals
from tuner.search_folder import BEST, locked, trial_folder
from tuner.settings import SearchSettings


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
    for record in rank(Ledger.open(folder).records())[: SearchSettings().keep_models]:
        save(trial_folder(folder, record.number), BEST)
    save(trial_folder(folder, 0) / "checkpoints")
    for export in (BEST, "export-0002"):
        save(folder, export)
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


def best_of_all(folder: Path) -> Path:
    return trial_folder(folder, rank(Ledger.open(folder).records())[0].number) / BEST


def lose_weights(folder: Path) -> None:
    shutil.rmtree(best_of_all(folder))


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
    (best_of_all(folder) / "manifest.json").unlink()


def damage_export(folder: Path) -> None:
    (folder / BEST / "model.safetensors").write_bytes(bytes([1]) + bytes(999))


def leave_a_file_out(folder: Path) -> None:
    (folder / "export-0002" / "model.safetensors").unlink()


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
        (lose_weights, [": among the best 4, whose weights are kept, but has none", "--trial N"]),
        (damage_export, ["search/best/model.safetensors: ", "tuner.export", "search"]),
        (leave_a_file_out, ["export-0002/model.safetensors: ", "tuner.export", "--trial 2"]),
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


def test_an_export_without_a_manifest_is_an_older_one(search: Path) -> None:
    (search / BEST / "manifest.json").unlink()
    assert examined(search) == (doctor.EXIT_HEALTHY, [])


@pytest.fixture
def going_on(toy: Any, tmp_path: Path) -> Path:
    """A search whose first trial has a report, and its checkpoint."""
    folder: Path = tmp_path / "going-on"
    ledger = toy.new_ledger(folder)
    for key, value in {SEALS: seals({}, HEADER), **HEADER}.items():
        ledger.set_header(key, value)
    keeper = Keeper(folder)
    referee = referee_of(toy, ledger, keeper)
    order = referee.next_order()
    referee.hear(order.number, toy.report(1, 0.5))
    keeper.close()
    ledger._engine.dispose()
    save(trial_folder(folder, 0) / "checkpoints")
    for export in (BEST, "export-0002"):
        save(folder, export)
    (folder / "mirror.log").write_text("MLflow holds the whole search; sent: 1 run\n")
    close_to_others(folder)
    return folder


def test_a_trial_that_goes_on_without_a_checkpoint_is_named(going_on: Path) -> None:
    assert examined(going_on) == (doctor.EXIT_HEALTHY, [])
    damage_checkpoint(going_on)
    assert any("trial 0: 1 reports, but no good checkpoint" in line for line in examined(going_on)[1])
    shutil.rmtree(trial_folder(going_on, 0) / "checkpoints")
    [line] = examined(going_on)[1]
    assert "trial 0: 1 reports, but no good checkpoint" in line and "trained again from its start" in line
    with locked(going_on):
        close_to_others(going_on)
        assert examined(going_on)[1] == [line]


def test_folders_that_come_and_go_end_no_look(going_on: Path) -> None:
    """Beside a thread that makes and removes checkpoints without a pause, which is harsher than any driver."""
    over, parent = threading.Event(), trial_folder(going_on, 0) / "checkpoints"

    def churn() -> None:
        for number in itertools.cycle(range(2, 5)):
            (inner := parent / f"report-{number:04d}" / "inner").mkdir(parents=True, exist_ok=True)
            (inner / "file").write_bytes(b"x")
            shutil.rmtree(inner.parent, ignore_errors=True)
            if over.is_set():
                return

    thread = threading.Thread(target=churn)
    with locked(going_on):
        thread.start()
        try:
            assert all(doctor.examine(going_on) for _ in range(12))
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("place", ["mirror.log", "trials/0000/record.json", "trials/0000/best/manifest.json"])
def test_a_pipe_is_named_and_never_waited_for(search: Path, place: str) -> None:
    (search / place).parent.mkdir(exist_ok=True)
    (search / place).unlink(missing_ok=True)
    os.mkfifo(search / place, 0o600)
    code, [line] = examined(search)
    assert code == doctor.EXIT_TO_DO
    assert f"{search / place}: neither a file nor a folder" in line and "rm " in line


def test_a_link_is_named_and_not_followed(search: Path, tmp_path: Path) -> None:
    (search / "trials" / "0001" / "evil").symlink_to(tmp_path)
    [line] = examined(search)[1]
    assert "evil: a link; a search's folder holds its own files alone" in line


def test_what_others_have_written_does_not_reach_the_terminal(search: Path) -> None:
    (search / "mirror.log").write_text("x" * 2**20 + "\n\x1b]0;owned\x07\x1b[2J gone\n \n")
    (search / "trials" / "\x1b[2J").mkdir(mode=0o700)
    lines = CliRunner().invoke(doctor.app, [str(search)]).output
    assert "\x1b" not in lines and "\\x1b]0;owned\\x07\\x1b[2J gone" in lines


def test_a_ledger_that_cannot_be_read_is_told_by_where_it_stands(search: Path, tmp_path: Path) -> None:
    with sqlite3.connect(search / LEDGER_FILE) as connection:
        connection.execute("UPDATE trials SET number = 7 WHERE number = 1")
    connection.close()
    lines = examined(search)[1]
    assert not any("start the database" in line for line in lines)
    assert any("--resume" in line for line in lines)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / POINTER_FILE).write_text(json.dumps({"url": "postgresql://127.0.0.1:9/x", "study": "tritune-x"}))
    assert any("start the database, or see ledger.json" in line for line in examined(elsewhere)[1])


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
