"""What the driver does when something around the search goes wrong.  Real runs stand in tests/end_to_end."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainables.config import TrialConfig
from trainables.storage import StorageError
from tuner import driver, room
from tuner.cluster_join import Cluster, Node
from tuner.console import SteadyConsole
from tuner.interrupts import EXIT_INTERRUPTED
from tuner.mirror_process import MirrorResult
from tuner.prepare import prepare
from tuner.records import Confirms, TrialRecord
from tuner.room import in_words


class NoMirror:
    result = MirrorResult(True, "")

    def __init__(self, folder: Path) -> None:
        self.waits: list[float] = []
        made.append(self)

    def __enter__(self) -> "NoMirror":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self, timeout_seconds: float) -> MirrorResult:
        self.waits.append(timeout_seconds)
        return self.result


made: list[NoMirror] = []


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., bool]], int]:
    made.clear()
    monkeypatch.setattr(driver, "MirrorProcess", NoMirror)
    plan = prepare({"trials": 2, "confirm": 0}, set_texts=["encoder.name=tiny"])

    def run(search: Callable[..., bool]) -> int:
        monkeypatch.setattr(driver, "_search", search)
        return driver.drive(tmp_path / "runs" / "x", plan, is_new=True, quiet=True)

    return run


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "/x"),
        RuntimeError("Traceback (most recent call last):\nsqlite3.OperationalError: database or disk is full\n[SQL: INSERT]"),
    ],
)
def test_a_full_disk_has_an_exit_code_of_its_own_and_says_how_to_go_on(
    error: Exception, drive: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full_disk(*_: Any, **__: Any) -> bool:
        raise error

    assert drive(full_disk) == driver.EXIT_DISK_FULL == 4
    err = capsys.readouterr().err
    assert err.startswith("the disk is full: ") and err.count("\n") == 2
    assert "is full" in err.splitlines()[0] and "--resume" in err and "Traceback" not in err
    assert driver.Ledger.open(tmp_path / "runs" / "x").header["ended"] == "stopped"


@pytest.mark.parametrize(
    "error",
    [
        StorageError("s3://bucket/x?region=y", "timed out"),
        RuntimeError(f"Traceback (most recent call last):\nStorageError: {StorageError('s3://bucket/x', 'timed out')}\n"),
    ],
)
def test_so_has_a_storage_that_is_gone(error: Exception, drive: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    def gone(*_: Any, **__: Any) -> bool:
        raise error

    assert drive(gone) == driver.EXIT_DISK_FULL
    first, second = capsys.readouterr().err.splitlines()
    assert "s3://bucket/x: the storage cannot be used: timed out" in first and "Traceback" not in first
    assert "--resume" in second


def test_a_search_that_cannot_go_on_says_so_in_two_lines_and_keeps_the_rest_in_a_file(
    drive: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def torn_disk(*_: Any, **__: Any) -> bool:
        raise OSError(5, "Input/output error")

    assert drive(torn_disk) == driver.EXIT_FAILED
    err = capsys.readouterr().err
    assert "Input/output error" in err and "--resume" in err and "Traceback" not in err
    assert "torn_disk" in (tmp_path / "runs" / "x" / driver.ERROR_FILE).read_text()
    assert driver.Ledger.open(tmp_path / "runs" / "x").header["ended"] == "stopped"
    assert made[0].waits[0] < 5


def test_an_export_that_fails_is_no_traceback_and_no_success(
    drive: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, code in ((28, driver.EXIT_DISK_FULL), (5, driver.EXIT_FAILED)):

        def fail(*_: Any, number: int = number, **__: Any) -> Any:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(driver, "export_best", fail)
        monkeypatch.setattr(driver, "_num_unfinished", lambda *_: 0)
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        assert drive(lambda *_, **__: False) == code
        assert f"nothing was exported: [Errno {number}]" in capsys.readouterr().out


def test_no_trial_with_a_score_is_no_success(drive: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_num_unfinished", lambda *_: 0)
    assert drive(lambda *_, **__: False) == driver.EXIT_FAILED


def test_a_time_budget_that_ends_before_the_first_report_is_no_failure(drive: Callable[..., int]) -> None:
    assert drive(lambda *_, **__: False) == driver.EXIT_DONE


def test_interrupted_search_exports_nothing(drive: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert drive(lambda *_, **__: True) == EXIT_INTERRUPTED
    assert "exported" not in capsys.readouterr().out


def test_who_joined_a_cluster_is_told_to_join_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuner.prepare import prepare

    monkeypatch.setattr(driver, "MirrorProcess", NoMirror)
    monkeypatch.setattr(driver, "_search", lambda *_, **__: True)
    cluster = Cluster("10.0.0.1:6379", Path("token"), (Node("id", "host", "10.0.0.1", 2, 0),))
    folder = tmp_path / "runs" / "x"
    plan = prepare({"trials": 2, "confirm": 0}, set_texts=["encoder.name=tiny"])
    assert driver.drive(folder, plan, cluster, is_new=True, quiet=True) == EXIT_INTERRUPTED
    assert f"python -m tuner.search --resume {folder} --address auto   (2 trials are not" in capsys.readouterr().out


def test_it_announces_what_a_trial_has_and_what_the_disk_must_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = prepare({"trials": 3, "gpus_per_trial": 0.25}, set_texts=["encoder.name=tiny"])
    for free, warned in ((10**12, False), (10**6, True)):
        monkeypatch.setattr(room, "free_bytes", lambda _folder, free=free: free)
        driver._announce(SteadyConsole(), tmp_path, plan, slots=8, cluster=None, records=[])
        said = capsys.readouterr().out
        assert "this machine alone; each trial has 1 CPU and 0.25 GPU (4 trials a GPU)\n" in said
        assert f"on disk at most {plan.most_bytes(8) / 1e6:.0f} MB (trials and ledger); {free / 1e6:.0f} MB" in said or not warned
        assert ("a full disk ends the search with exit code 4" in said) == warned


def test_a_training_that_was_cut_short_is_unfinished_while_trials_are_confirmed() -> None:
    again = TrialRecord(1, "running", {}, {}, (), confirms=Confirms(None, 0))
    records = [TrialRecord(0, "complete", {}, TrialConfig().to_tree(), ()), again]
    plans = (prepare({"trials": 1, "confirm": confirm}, set_texts=["encoder.name=tiny"]) for confirm in (1, 0))
    some, none = (driver._num_unfinished(records, plan) for plan in plans)
    assert some > 0 and none == 0


def test_what_is_still_to_be_trained_again_is_told_of_a_search_that_goes_on() -> None:
    plan = prepare({"trials": 1, "confirm": 1, "confirm_seeds": 2}, set_texts=["encoder.name=tiny"])
    [new] = driver._describe_confirmation(plan, [])
    assert "2 seeds each (4 full trainings), and judged on 40% of dev" in new
    [goes_on] = driver._describe_confirmation(plan, [TrialRecord(0, "running", {}, {}, (), confirms=Confirms(None, 0))])
    assert "(4 full trainings, at most 3 of them still to begin)" in goes_on


def test_with_a_storage_it_announces_what_lies_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = prepare({"trials": 3, "storage": f"file://{tmp_path}/storage"}, set_texts=["encoder.name=tiny"])
    driver._announce(SteadyConsole(), tmp_path, plan, slots=2, cluster=None, records=[])
    said = capsys.readouterr().out
    assert f"on disk at most {in_words(plan.bytes_in_folder())} (ledger, logs, a model to be exported); " in said
    assert f"in the storage at most {in_words(plan.most_bytes(2))}; a trial takes {in_words(plan.running_bytes())} on the" in said
    assert plan.running_bytes() < plan.most_bytes(2)


def test_the_ledger_says_when_drivers_were_at_work_and_what_was_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drive: Callable[..., int]
) -> None:
    folder = tmp_path / "runs" / "x"
    drive(lambda *_, **__: True)
    assert driver.PLAN not in driver.Ledger.read(folder).header
    plan = prepare({"trials": 2, "confirm": 0}, set_texts=["encoder.name=tiny"])
    driver.drive(folder, plan, is_new=False, quiet=True, expected={"made": "before"})
    header = driver.Ledger.read(folder).header
    assert header[driver.PLAN] == {"made": "before"}
    assert len(header["drivers"]) == 2 and all(start <= end for start, end in header["drivers"])


@pytest.mark.parametrize("complete", [True, False])
def test_the_mirror_is_told_whom_to_register_and_what_came_of_it_is_said(
    complete: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "x"
    record = TrialRecord(7, "complete", {}, {}, ({"budget": 9, "score": 0.5, "train_seconds": 1.0},))

    class Mirror(NoMirror):
        result = MirrorResult(complete, "registered as bert, version 3" if complete else "it was killed")

        def close(self, timeout_seconds: float) -> MirrorResult:
            seen.append(driver.Ledger.read(folder).header)
            return super().close(timeout_seconds)

    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(driver, "MirrorProcess", Mirror)
    monkeypatch.setattr(driver, "export_best", lambda *_, **__: (folder / "best", record))
    monkeypatch.setattr(driver, "_num_unfinished", lambda *_: 0)
    monkeypatch.setattr(driver, "_search", lambda *_, **__: False)
    plan = prepare({"trials": 2, "register_as": "bert"}, set_texts=["encoder.name=tiny"])
    made.clear()
    assert driver.drive(folder, plan, is_new=True, quiet=True) == driver.EXIT_DONE
    assert seen[0]["registration"] == {"name": "bert", "trial": 7} and seen[0]["ended"] == "complete"
    assert driver._MIRROR_SECONDS < made[0].waits[0] <= 60
    said = capsys.readouterr().out
    assert ("registered as bert, version 3\n" in said) == complete
    assert (
        f"trial 7 is not registered as bert; that is done later by: python -m tuner.tracking sync {folder}\n" in said
    ) != complete

    monkeypatch.setattr(driver, "_search", lambda *_, **__: True)  # it goes on, and is interrupted: there is no winner yet
    assert driver.drive(folder, plan, is_new=False, quiet=True) == EXIT_INTERRUPTED
    assert seen[-1]["registration"] is None
    assert "registered as" not in capsys.readouterr().out


def test_a_search_that_is_done_has_its_report(
    drive: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    drive(lambda *_args, **_more: False)
    report = tmp_path / "runs" / "x" / "report.html"
    assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert f"report        open {report} in a browser" in capsys.readouterr().out


def test_the_report_counts_what_the_driver_did_after_the_last_trial(
    drive: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[list[list[str]]] = []
    folder = tmp_path / "runs" / "x"

    def export(*_args: Any, **_more: Any) -> tuple[int, list[str]]:
        seen.append(driver.Ledger.read(folder).header["drivers"])
        return 0, []

    def report(*_args: Any, **_more: Any) -> list[str]:
        seen.append(driver.Ledger.read(folder).header["drivers"])
        return []

    monkeypatch.setattr(driver, "_export", export)
    monkeypatch.setattr(driver, "_report", report)
    drive(lambda *_args, **_more: False)
    [[started, open_]], [[same, end]] = seen
    assert open_ is None and same == started <= end


def test_a_report_that_fails_is_a_line_and_no_failure_of_the_search(
    drive: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mine = tmp_path / "runs" / "x" / "report.html"
    mine.parent.mkdir(parents=True)

    def search(*_args: Any, **_more: Any) -> bool:
        mine.write_text("my notes")
        return False

    assert drive(search) == 0
    said = capsys.readouterr().out
    assert "no report was written: ConfigError" in said
    assert "python -m reports.build" in said
    assert mine.read_text() == "my notes"
