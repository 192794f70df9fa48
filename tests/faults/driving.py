"""Searches that are killed: begun, watched, ended at a chosen moment, begun again."""

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.end_to_end.conftest import QUICK, Bench
from tests.faults.ledger_check import LOG, TRIALS, Observer, read_log
from tests.faults.processes import MARK
from tuner.ledger import Ledger
from tuner.ledger_places import LedgerError
from tuner.records import TrialRecord

NAME = "s"
FOLDER = f"runs/{NAME}"
END_SECONDS = 900.0
_POLL_SECONDS = 0.02
_CURVE_TOLERANCE = 1e-6


def mark_of(bench: Bench) -> str:
    return bench.environment[MARK]


def folder_of(bench: Bench) -> Path:
    return bench.folder / FOLDER


def command(bench: Bench, *args: str | Path) -> list[str | Path]:
    """What begins a search, or goes on with it where one stands there.

    One that was killed before its header was whole, and so before anything was acknowledged, is deleted, as its message says.
    """
    if (folder_of(bench) / "study.db").exists() and _is_set_up(bench):
        return ["--resume", FOLDER]
    shutil.rmtree(folder_of(bench), ignore_errors=True)
    return ["--data", bench.data, *QUICK, *args, "--out", FOLDER]


def _is_set_up(bench: Bench) -> bool:
    try:
        return "data_hashes" in Ledger.open(folder_of(bench)).header
    except LedgerError:
        return False


def start(bench: Bench, *args: str | Path, under: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """A search in a process group of its own; output goes to `driver.log`: what a killed one leaves would hold a pipe open."""
    with (bench.folder / "driver.log").open("ab") as log:
        return subprocess.Popen(
            [*under, sys.executable, "-m", "tuner.search", *map(str, args)],
            cwd=bench.folder,
            env=bench.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def said(bench: Bench) -> str:
    """All that the drivers have printed."""
    return (bench.folder / "driver.log").read_text(encoding="utf-8", errors="replace")


def run(bench: Bench, *args: str | Path, under: tuple[str, ...] = ()) -> int:
    """A search run to its end; its exit code."""
    process = start(bench, *args, under=under)
    try:
        return process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def wait_for_moment(process: subprocess.Popen[bytes], observer: Observer, chance: random.Random) -> None:
    """Waits for a random moment: of the start (one time in three), or of the work, after the first event that is new.

    Returns early where the search ends by itself.
    """
    since = time.monotonic()
    if chance.random() < 1 / 3:
        return _wait(process, chance.uniform(0.2, 12))
    while process.poll() is None and observer.seconds_to_first_event(since) is None:
        time.sleep(_POLL_SECONDS)
    return _wait(process, chance.uniform(0, 8))


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)


def records(bench: Bench) -> list[TrialRecord]:
    """As the ledger has them; none where there is none yet."""
    try:
        return Ledger.open(folder_of(bench)).records()
    except LedgerError:
        return []


def lost_intervals(bench: Bench) -> list[float]:
    """What each running trial had trained since its newest checkpoint, as a share of a report interval, at most one; now.

    An estimate by the clock: seconds since the checkpoint over the median seconds of a report so far.
    """
    found, now = records(bench), time.time()
    seconds = [report["train_seconds"] + report["eval_seconds"] for record in found for report in record.reports]
    if not seconds:
        return []
    shares = []
    for record in found:
        folder = folder_of(bench) / TRIALS / f"{record.number:04d}" / "checkpoints"
        written = [path.stat().st_mtime for path in folder.glob("report-*/manifest.json")]
        if record.state == "running" and written:
            shares.append(min(1.0, max(0.0, now - max(written)) / statistics.median(seconds)))
    return shares


def redone_whole(bench: Bench) -> dict[int, int]:
    """Trial -> report intervals that it has trained more than once so far."""
    folder = folder_of(bench)
    numbers = [int(path.parent.name) for path in (folder / TRIALS).glob(f"*/{LOG}")]
    return {number: read_log(folder, number).num_redone for number in numbers}


def _curves(found: list[TrialRecord]) -> dict[tuple[int, int, str], float]:
    """All numbers of all reports but those of the clock: (trial, report, key) -> value."""
    return {
        (record.number, int(report["report"]), key): float(value)
        for record in found
        for report in record.reports
        for key, value in report.items()
        if isinstance(value, int | float) and not key.endswith(("_seconds", "_per_second", "memory_bytes"))
    }


def apart(found: list[TrialRecord], wanted: list[TrialRecord]) -> list[str]:
    """Where trials came to other numbers than undisturbed."""
    curves, undisturbed = _curves(found), _curves(wanted)
    lacking = Counter(trial for trial, report, key in undisturbed if (trial, report, key) not in curves)
    missing = [f"trial {trial}: {count} numbers of its reports are missing" for trial, count in lacking.items()]
    return missing + [
        f"trial {trial} report {report}: {key} is {value}, undisturbed it was {undisturbed.get((trial, report, key))}"
        for (trial, report, key), value in curves.items()
        if not abs(value - undisturbed.get((trial, report, key), float("nan"))) <= _CURVE_TOLERANCE
    ]
