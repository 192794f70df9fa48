"""A ledger that was damaged in every place in turn holds all that was acknowledged again, or says what is missing."""

import contextlib
import gc
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reports.leaderboard import read_leaderboard
from tests.damages import empty, flip_bit, truncate
from tests.faults.ledger_check import Events, differences, read_events
from tests.tuner.test_referee import by_number, drive, outcome, referee_of
from trainables.checkpoints import write_checkpoint
from trainables.disk import is_disk_full
from trainables.paths import write_yaml
from tuner import restoration, search
from tuner.backup import Keeper, RecordError, read_record
from tuner.doctor import examine
from tuner.ledger import Ledger
from tuner.ledger_places import BACKUP_FILE, LEDGER_FILE, RECORD_FILE, LedgerError
from tuner.ledger_rows import only_reading, read_header, read_trial
from tuner.records import TrialRecord
from tuner.recovery import recover
from tuner.referee import Order
from tuner.restoration import RESTORATIONS
from tuner.seals import SEALS, broken_seals, digest, seals
from tuner.search_folder import trial_folder
from tuner.store_check import problems_of_store

HEADER = {"settings": {"trials": 5}, "space": {}, "base": {}, "data_hashes": {}, "rungs": [1, 2]}
NUM_EVENTS = 9
"""Of the referee, until the driver is killed: some trials have ended by then, one runs."""
WAL = f"{LEDGER_FILE}-wal"


class Killed(BaseException):
    """The end of the driver."""


def remove(path: Path, _chance: random.Random) -> None:
    path.unlink()


@pytest.fixture(scope="module")
def whole(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Path]:
    """What a search comes to that nobody disturbs; and the folder of one that was killed in the middle, as the kill left it."""
    undisturbed = toy.new_ledger(tmp_path_factory.mktemp("undisturbed") / "search")
    drive(toy, undisturbed, by_number)
    folder = tmp_path_factory.mktemp("killed") / "search"
    ledger = toy.new_ledger(folder)
    for key, value in {SEALS: seals({}, HEADER), **HEADER}.items():
        ledger.set_header(key, value)
    with sqlite3.connect(folder / LEDGER_FILE) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
    keeper, count = Keeper(folder, every_seconds=1e9), iter(range(NUM_EVENTS))
    keeper.close()  # one backup, from before the first trial

    def listen(event: str, record: Any) -> None:
        keeper(event, record)
        if next(count, None) is None:
            raise Killed

    with pytest.raises(Killed):
        drive(toy, ledger, by_number, listen)
    assert {record.state for record in ledger.records()} > {"running"}
    left = tmp_path_factory.mktemp("left") / "search"
    shutil.copytree(folder, left)  # its log beside it, as no connection has been closed
    return outcome(undisturbed), left


@pytest.fixture
def killed(whole: tuple[list[Any], Path], tmp_path: Path) -> Path:
    return shutil.copytree(whole[1], tmp_path / "search")


def acknowledged(folder: Path) -> Events:
    return read_events(folder / LEDGER_FILE)[0]


def records_of(folder: Path) -> list[TrialRecord]:
    """Read from a copy: a connection of ours, closed after the ledger was damaged, would write its log into it."""
    return Ledger.open(shutil.copytree(folder, folder.with_name("copy"))).records()


def without(events: Events, *kinds: str) -> Events:
    return {event: value for event, value in events.items() if event.kind not in kinds}


def go_on(toy: Any, folder: Path) -> list[Any]:
    """Goes on to the end, and what came of it."""
    ledger = Ledger.open(folder)
    drive(toy, ledger, by_number, Keeper(folder))
    return outcome(ledger)


def test_a_whole_ledger_is_left_as_it_is(killed: Path) -> None:
    before = {path: path.read_bytes() for path in killed.rglob("*") if path.is_file()}
    assert recover(killed) == []
    after = {path: path.read_bytes() for path in killed.rglob("*") if path.is_file() and not path.name.endswith("-shm")}
    assert after == {path: content for path, content in before.items() if not path.name.endswith("-shm")}


@pytest.mark.parametrize(
    ("damage", "seed"),
    [(truncate, 0), (empty, 0), (remove, 0), *((flip_bit, seed) for seed in range(12))],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.parametrize("name", [LEDGER_FILE, WAL, f"{LEDGER_FILE}-shm", BACKUP_FILE, "trials/0000/record.json"])
def test_damage_loses_nothing_that_was_acknowledged(  # noqa: PLR0917 - fixtures and parameters
    toy: Any, whole: tuple[list[Any], Path], killed: Path, name: str, damage: Callable[..., None], seed: int
) -> None:
    before = acknowledged(killed)
    damage(killed / name, random.Random(seed))
    told = recover(killed)
    after = acknowledged(killed)
    assert differences(without(before, "passed"), after) == []
    if told and name in {LEDGER_FILE, WAL}:
        assert any(LEDGER_FILE in line for line in told)
        assert list(killed.glob("*.damaged-1"))
        with only_reading(killed / LEDGER_FILE) as connection:
            assert read_header(connection)[RESTORATIONS][-1]["told"] == told
    assert recover(killed) == [] or name == BACKUP_FILE or name.endswith(RECORD_FILE)
    assert go_on(toy, killed) == whole[0]


@pytest.mark.parametrize("seed", range(30))
def test_a_flipped_bit_loses_nothing_where_the_log_was_moved_into_the_ledger(
    toy: Any, whole: tuple[list[Any], Path], killed: Path, seed: int
) -> None:
    with contextlib.closing(sqlite3.connect(killed / LEDGER_FILE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = acknowledged(killed)
    flip_bit(killed / LEDGER_FILE, random.Random(seed))
    recover(killed)
    assert differences(without(before, "passed"), acknowledged(killed)) == []
    assert go_on(toy, killed) == whole[0]


def test_an_emptied_ledger_is_named_kept_and_told(killed: Path) -> None:
    empty(killed / LEDGER_FILE, random.Random(0))
    told = recover(killed)
    assert told[0] == f"{killed / LEDGER_FILE}: empty"
    assert f"{killed / LEDGER_FILE}: kept as {LEDGER_FILE}.damaged-1" in told
    assert (killed / f"{LEDGER_FILE}.damaged-1").read_bytes() == b""
    empty(killed / LEDGER_FILE, random.Random(0))
    recover(killed)
    assert (killed / f"{LEDGER_FILE}.damaged-2").exists()
    with only_reading(killed / LEDGER_FILE) as connection:
        assert len(read_header(connection)[RESTORATIONS]) == 1  # the backup does not know of the first time


def test_a_changed_number_in_a_trial_that_has_ended_is_put_right(killed: Path) -> None:
    before = acknowledged(killed)
    with sqlite3.connect(killed / LEDGER_FILE) as connection:
        changed = connection.execute("UPDATE trial_intermediate_values SET intermediate_value = 0.99").rowcount
    assert changed > 0
    told = recover(killed)
    assert any("its record" in line for line in told)
    assert differences(before, acknowledged(killed)) == []


def test_a_changed_header_is_noticed(killed: Path) -> None:
    with sqlite3.connect(killed / LEDGER_FILE) as connection:
        connection.execute("""UPDATE study_user_attributes SET value_json = '{"trials": 4}' WHERE key = 'settings'""")
    told = recover(killed)
    assert told[0] == f"{killed / LEDGER_FILE}: its header's settings is not what its sum says"
    with only_reading(killed / LEDGER_FILE) as connection:
        assert read_header(connection)["settings"] == HEADER["settings"]


def test_a_header_may_change_and_be_cut_short_in_it(killed: Path) -> None:
    ledger = Ledger.open(killed)
    new = {**HEADER, "settings": {"trials": 9}}
    ledger.set_header(SEALS, seals(ledger.header, new))
    assert problems_of_store(killed / LEDGER_FILE) == []
    ledger.set_header("settings", new["settings"])
    assert problems_of_store(killed / LEDGER_FILE) == []


def test_trials_of_which_nothing_is_left_are_given_up_only_when_asked(toy: Any, killed: Path) -> None:
    lost = next(record.number for record in records_of(killed) if record.state != "running")
    empty(killed / LEDGER_FILE, random.Random(0))
    (trial_folder(killed, lost) / RECORD_FILE).unlink()
    with pytest.raises(LedgerError, match=f"trials {lost}: they were asked(?s:.)*--without-lost-trials"):
        recover(killed)
    assert (killed / LEDGER_FILE).read_bytes() == b""
    told = recover(killed, without_lost=True)
    assert f"trial {lost}: lost; it is written down as failed" in told
    record = Ledger.open(killed).record(lost)
    assert (record.state, record.reason) == ("failed", "lost")
    assert {number for number, *_ in go_on(toy, killed)} == set(range(5))


def test_without_ledger_and_backup_nothing_goes_on(killed: Path) -> None:
    empty(killed / LEDGER_FILE, random.Random(0))
    empty(killed / BACKUP_FILE, random.Random(0))
    with pytest.raises(LedgerError, match=f"(?s){LEDGER_FILE}: empty.*{BACKUP_FILE}: empty"):
        recover(killed)


def test_a_running_trial_is_taken_from_its_checkpoint_where_its_record_is_damaged_too(toy: Any, killed: Path) -> None:
    running = next(record for record in records_of(killed) if record.state == "running")
    history = [toy.report(index, by_number(running, index)) for index in (1, 2)]

    def fill(folder: Path) -> None:
        write_yaml(running.config, folder / "config.yaml")
        (folder / "state.json").write_text(json.dumps({"history": history, "applied": {"device": "cpu"}}))

    write_checkpoint(trial_folder(killed, running.number) / "checkpoints", "report-0002", fill)
    empty(killed / LEDGER_FILE, random.Random(0))
    empty(trial_folder(killed, running.number) / RECORD_FILE, random.Random(0))
    told = recover(killed)
    assert f"trial {running.number}: running, 2 reports, taken from report-0002, its checkpoint" in told
    restored = Ledger.open(killed).record(running.number)
    assert restored.config == running.config
    assert [report["score"] for report in restored.reports] == [report["score"] for report in history]
    assert restored.applied == {"device": "cpu"} and restored.passed_rungs == {1}


def test_a_record_is_the_ledgers_rows(toy: Any, tmp_path: Path) -> None:
    ledger = toy.new_ledger(tmp_path / "search")
    drive(toy, ledger, by_number, Keeper(tmp_path / "search"))
    with only_reading(tmp_path / "search" / LEDGER_FILE) as connection:
        for record in ledger.records():
            assert read_record(tmp_path / "search", record.number) == read_trial(connection, record.number)


def test_a_backup_that_cannot_be_written_does_not_disturb(toy: Any, tmp_path: Path) -> None:
    ledger = toy.new_ledger(tmp_path / "search")
    keeper = Keeper(tmp_path / "search")
    (tmp_path / "search" / BACKUP_FILE).mkdir()
    drive(toy, ledger, by_number, keeper)
    keeper.close()
    assert f"no backup of {tmp_path / 'search' / LEDGER_FILE}" in keeper.problem
    assert len(ledger.records()) == 5


def test_referee_goes_on_with_a_restored_rung(toy: Any, killed: Path) -> None:
    rungs = referee_of(toy, Ledger.open(shutil.copytree(killed, killed.with_name("copy")))).rungs.table()
    remove(killed / LEDGER_FILE, random.Random(0))
    remove(killed / WAL, random.Random(0))
    recover(killed)
    assert referee_of(toy, Ledger.open(killed)).rungs.table() == rungs


def test_a_damaged_ledger_takes_the_place_of_no_good_backup(killed: Path) -> None:
    good = (killed / BACKUP_FILE).read_bytes()
    with sqlite3.connect(killed / LEDGER_FILE) as connection:
        connection.execute("""UPDATE study_user_attributes SET value_json = '{"trials": 4}' WHERE key = 'settings'""")
    keeper = Keeper(killed)
    keeper.close()
    assert (killed / BACKUP_FILE).read_bytes() == good
    assert "the one from before is kept" in keeper.problem and "settings is not what its sum says" in keeper.problem
    recover(killed)
    assert problems_of_store(killed / LEDGER_FILE) == []


@pytest.mark.parametrize("look", [Ledger.read, examine, read_leaderboard], ids=lambda look: look.__name__)
def test_whoever_looks_leaves_a_damaged_log_as_it_is(killed: Path, look: Callable[[Path], Any]) -> None:
    content = bytearray((killed / WAL).read_bytes())
    content[len(content) // 2] ^= 1
    (killed / WAL).write_bytes(content)
    with contextlib.suppress(LedgerError):
        look(killed)
    gc.collect()
    assert (killed / WAL).read_bytes() == content
    assert any(WAL in line for line in recover(killed))


def test_whoever_looks_moves_no_log_into_the_ledger(killed: Path) -> None:
    before = {name: (killed / name).read_bytes() for name in (LEDGER_FILE, WAL)}
    assert read_leaderboard(killed, live=False).rows
    gc.collect()
    assert {name: (killed / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("key", [*HEADER, SEALS])
def test_a_header_that_lacks_an_entry_is_noticed(killed: Path, key: str) -> None:
    wanted = {**HEADER, "fixed": ["optimizer.lr"]}
    ledger = Ledger.open(killed)
    for name, value in {**wanted, SEALS: seals(wanted, wanted)}.items():
        ledger.set_header(name, value)
    ledger._engine.dispose()
    Keeper(killed).close()
    with contextlib.closing(sqlite3.connect(killed / LEDGER_FILE)) as connection, connection:
        connection.execute("UPDATE study_user_attributes SET key = 'renamed' WHERE key = ?", (key,))
    assert any(f"lacks {key}" in line for line in recover(killed))
    with only_reading(killed / LEDGER_FILE) as connection:
        assert read_header(connection)[key] == {**wanted, SEALS: seals(wanted, wanted)}[key]


def test_no_bit_of_the_seals_changes_unseen() -> None:
    header = {**HEADER, SEALS: seals(HEADER, HEADER)}
    text = json.dumps(header[SEALS])
    for place in range(len(text)):
        for bit in range(7):
            changed = text[:place] + chr(ord(text[place]) ^ 1 << bit) + text[place + 1 :]
            with contextlib.suppress(ValueError):
                assert broken_seals({**HEADER, SEALS: json.loads(changed)}) or json.loads(changed) == header[SEALS], changed


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        json.dumps({"trial": 0, "rows": {}, "sha256": digest({})}),
        json.dumps({"trial": 0, "rows": {"trials": []}, "sha256": digest({"trials": []})}),
        json.dumps([]),
    ],
    ids=["deep", "no tables", "no head", "a list"],
)
def test_a_record_that_is_none_is_named(killed: Path, content: str) -> None:
    (trial_folder(killed, 0) / RECORD_FILE).write_text(content)
    with pytest.raises(RecordError, match=RECORD_FILE):
        read_record(killed, 0)
    recover(killed)


def test_names_of_columns_in_a_record_are_looked_at(killed: Path) -> None:
    rows = read_record(killed, 0)
    assert rows is not None
    rows["trial_user_attributes"].append({"key, trial_id) SELECT 1, 1; --": 1})
    (trial_folder(killed, 0) / RECORD_FILE).write_text(json.dumps({"trial": 0, "rows": rows, "sha256": digest(rows)}))
    with pytest.raises(RecordError, match="rows of key, value_json must stand here"):
        read_record(killed, 0)


@pytest.mark.parametrize(
    "harm",
    [
        f"UPDATE study_user_attributes SET value_json = '{DEEP}' WHERE key = 'base'",
        "CREATE TRIGGER evil AFTER INSERT ON trials BEGIN DELETE FROM studies; END",
        "CREATE VIEW evil AS SELECT 1",
    ],
    ids=["deep", "trigger", "view"],
)
def test_a_ledger_that_is_none_is_not_built_on(killed: Path, harm: str) -> None:
    before = acknowledged(killed)
    with contextlib.closing(sqlite3.connect(killed / LEDGER_FILE)) as connection, connection:
        connection.execute(harm)
    assert problems_of_store(killed / LEDGER_FILE)
    recover(killed)
    assert problems_of_store(killed / LEDGER_FILE) == []
    assert differences(without(before, "passed"), acknowledged(killed)) == []


def test_a_checkpoint_without_its_reports_says_nothing(killed: Path) -> None:
    running = next(record for record in records_of(killed) if record.state == "running")

    def fill(folder: Path) -> None:
        write_yaml(running.config, folder / "config.yaml")
        (folder / "state.json").write_text("{}")

    write_checkpoint(trial_folder(killed, running.number) / "checkpoints", "report-0002", fill)
    empty(killed / LEDGER_FILE, random.Random(0))
    (trial_folder(killed, running.number) / RECORD_FILE).unlink()
    with pytest.raises(LedgerError, match=f"(?s)says nothing of its trial.*trials {running.number}: they were asked"):
        recover(killed)


def test_a_full_disk_is_told_as_such(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty(killed / LEDGER_FILE, random.Random(0))

    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(restoration, "copy_store", full)
        with pytest.raises(LedgerError) as caught:
            recover(killed)
    assert is_disk_full(caught.value) and (killed / LEDGER_FILE).read_bytes() == b""
    assert recover(killed)


def test_that_a_trial_was_halved_stands_in_its_record(toy: Any, killed: Path) -> None:
    referee = referee_of(toy, Ledger.open(killed), Keeper(killed, every_seconds=1e9))
    order = referee.next_order()
    assert isinstance(order, Order) and referee.out_of_memory(order.number, "no room") is not None
    (killed / WAL).unlink()
    empty(killed / LEDGER_FILE, random.Random(0))
    recover(killed)
    assert Ledger.read(killed).record(order.number).micro_batch_size is not None


def test_a_link_is_told_before_anything_is_read_through_it(killed: Path, tmp_path: Path) -> None:
    (killed / "trials").rename(tmp_path / "elsewhere")
    (killed / "trials").symlink_to(tmp_path / "elsewhere")
    empty(killed / LEDGER_FILE, random.Random(0))
    done = CliRunner().invoke(search.app, ["--resume", str(killed)])
    assert done.exit_code == search.EXIT_MISTAKE and f"{killed / 'trials'}: a link" in done.stderr
    assert (killed / LEDGER_FILE).read_bytes() == b"" and not list(killed.glob("*.damaged-*"))
    [finding] = examine(killed)
    assert "a link" in finding.seen and finding.to_do
