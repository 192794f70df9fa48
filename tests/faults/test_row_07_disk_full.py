"""Row 7: a full disk under the trials, the ledger, Ray's temporary folder: a clean stop, exit code 4, on once there is room."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import QUICK, Bench
from tests.faults.scorecard import Row
from tuner.ledger import problem_to_mend
from tuner.records import TrialRecord
from tuner.room import MIB

EXIT_DISK_FULL, NUM_TRIALS = 4, 4
BIG = 512 * MIB

pytestmark = [
    pytest.mark.row(7, "a disk full under the trials, the ledger, Ray's folder", "from the start with room again to its end"),
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="a small disk is mounted by root alone"),
]


@pytest.fixture
def mounted() -> Iterator[Callable[[Path, int], None]]:
    """`mounted(folder, size)`: a tmpfs of so many bytes, mounted there, or made larger."""
    folders: list[Path] = []

    def mount(folder: Path, num_bytes: int) -> None:
        option = "remount," if folder in folders else ""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"{option}size={num_bytes}", "tmpfs", str(folder)], check=False, capture_output=True
        )
        if done.returncode and folder not in folders:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode()}")
        assert done.returncode == 0, done.stderr
        folders.append(folder)

    yield mount
    for folder in dict.fromkeys(folders):
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Takes all the room there is."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(bytes(MIB))
                file.flush()
        except OSError:
            pass
    return ballast


def begin(bench: Bench, name: str) -> subprocess.Popen[str]:
    """A search, once it has had its first reports."""
    args = ["--data", bench.data, *QUICK, "--budget", "5400", "--trials", str(NUM_TRIALS), "--early-stopping", "none"]
    process = bench.start("tuner.search", *args, "--out", f"runs/{name}")
    bench.wait_for(name, lambda records: sum(len(record.reports) for record in records) >= 3)
    return process


def check_stopped(bench: Bench, name: str, code: int, err: str, before: list[TrialRecord]) -> None:
    """The stop is clean: its own exit code, two lines, nothing lost, and no trial held to be at fault."""
    assert code == EXIT_DISK_FULL, err
    assert "the disk is full" in err and f"--resume runs/{name}" in err and "Traceback" not in err
    if problem := problem_to_mend(bench.folder / "runs" / name):  # whether more was cut off only who goes on can find out
        assert problem.endswith("study.db-wal: cut off in the middle of a frame")
        return
    check_kept(bench, name, before)
    assert {record.state for record in bench.records(name)} <= {"running", "complete"}


def check_kept(bench: Bench, name: str, before: list[TrialRecord]) -> None:
    after = bench.records(name)
    for old, new in zip(before, after, strict=False):
        assert new.config == old.config or not old.config
        assert new.reports[: len(old.reports)] == old.reports
        assert [report["report"] for report in new.reports] == list(range(1, len(new.reports) + 1))


def check_goes_on(bench: Bench, name: str, before: list[TrialRecord]) -> float:
    """Once there is room it ends as if nothing had been; seconds that it took."""
    begun = time.monotonic()
    done = bench.run("tuner.search", "--resume", f"runs/{name}", timeout_seconds=900)
    assert done.code == 0, done.err
    check_kept(bench, name, before)
    assert [(record.number, record.state) for record in bench.records(name)] == [(n, "complete") for n in range(NUM_TRIALS)]
    return time.monotonic() - begun


@pytest.mark.faults(quick=False)
def test_full_under_the_trials(bench: Bench, mounted: Callable[[Path, int], None], shared_row: Row) -> None:
    process = begin(bench, "t")
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=100)
    trials = bench.folder / "runs" / "t" / "trials"
    aside, taken = trials.rename(trials.with_name("aside")), 0
    for file in aside.rglob("*"):
        taken += -(-file.lstat().st_size // 4096) * 4096
    trials.mkdir()
    mounted(trials, taken + 4 * 4096)
    shutil.copytree(aside, trials, dirs_exist_ok=True)
    before = bench.records("t")
    done = bench.run("tuner.search", "--resume", "runs/t")
    check_stopped(bench, "t", done.code, done.err, before)
    mounted(trials, BIG)
    shared_row.recover_seconds.append(check_goes_on(bench, "t", before))


def test_full_under_the_ledger(bench: Bench, mounted: Callable[[Path, int], None], shared_row: Row) -> None:
    (bench.folder / "runs" / "l").mkdir(parents=True)
    mounted(bench.folder / "runs" / "l", BIG)
    process, before = begin(bench, "l"), bench.records("l")
    ballast = fill(bench.folder / "runs" / "l")
    _out, err = process.communicate(timeout=400)
    check_stopped(bench, "l", process.returncode, err, before)
    again = bench.run("tuner.search", "--resume", "runs/l")
    assert again.code == EXIT_DISK_FULL, again.err
    assert "the disk is full" in again.err and "Traceback" not in again.err
    ballast.unlink()
    shared_row.recover_seconds.append(check_goes_on(bench, "l", before))


@pytest.mark.faults(quick=False)
def test_full_under_rays_temporary_folder(bench: Bench, mounted: Callable[[Path, int], None], shared_row: Row) -> None:
    temporary = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    mounted(temporary, BIG)
    bench.environment["TMPDIR"] = str(temporary)
    process, before = begin(bench, "r"), bench.records("r")
    ballast = fill(temporary)
    _out, err = process.communicate(timeout=400)
    check_stopped(bench, "r", process.returncode, err, before)
    again = bench.run("tuner.search", "--resume", "runs/r")
    assert again.code == EXIT_DISK_FULL, again.err
    ballast.unlink()
    shared_row.recover_seconds.append(check_goes_on(bench, "r", before))
