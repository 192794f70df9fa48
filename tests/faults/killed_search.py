"""A search that was killed in the middle of its second trial: its folder as it then lay, to be damaged again and again."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Bench
from tests.faults import driving, processes
from tests.faults.ledger_check import LEDGER, TRIALS, Events, Observer, read_events
from trainables.checkpoints import checkpoints

NUM_TRIALS = 2
_ARGS = ("--budget", "3600", "--concurrency", "1", "--early-stopping", "none", "--trials", str(NUM_TRIALS))


@pytest.fixture
def killed(marked_bench: Bench) -> tuple[Bench, Events]:
    """A search whose second trial had two reports in the ledger when its driver was killed; what stood then.

    The backup, which was made when the search began, as a rule knows of neither.
    """
    bench = marked_bench
    process = driving.start(bench, *driving.command(bench, *_ARGS))
    with Observer(driving.folder_of(bench) / LEDGER) as observer:
        while sum(event.kind == "report" and event.trial == NUM_TRIALS - 1 for event in list(observer.seen)) < 2:
            assert process.poll() is None, driving.said(bench)
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    at_once = [Path(shutil.copy2(file, bench.folder / file.name)) for file in driving.folder_of(bench).glob(f"{LEDGER}*")]
    processes.wait_until_gone(driving.mark_of(bench), 30)
    processes.end_all(driving.mark_of(bench))
    driving.folder_of(bench).rename(template_of(bench))
    for file in at_once:  # the mirror, which ends later, has moved SQLite's log into the ledger meanwhile
        file.replace(template_of(bench) / file.name)
    return bench, read_events(as_killed(bench) / LEDGER)[0]


def template_of(bench: Bench) -> Path:
    """The folder as the kill left it, under another name."""
    return bench.folder / "template"


def as_killed(bench: Bench) -> Path:
    """The folder as the kill left it, under its own name again: configs name no other."""
    shutil.rmtree(driving.folder_of(bench), ignore_errors=True)
    (bench.folder / "runs").mkdir(exist_ok=True)
    return Path(shutil.copytree(template_of(bench), driving.folder_of(bench), copy_function=shutil.copy2))


def newest_checkpoints(folder: Path) -> list[Path]:
    """Those of the last trial, which runs, by number."""
    return checkpoints(folder / TRIALS / f"{NUM_TRIALS - 1:04d}" / "checkpoints")
