"""Rows 3 and 5: the files that a killed search leaves are damaged, one at a time, and it is begun again."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.damages import Damage, empty, flip_bit, truncate
from tests.end_to_end.conftest import Bench
from tests.faults import driving, processes
from tests.faults.ledger_check import LEDGER, TRIALS, Events, Observer, problems_of, read_events
from tests.faults.scorecard import Row
from trainables.checkpoints import checkpoints

SEED = 19_690_720
NUM_TRIALS = 2
ARGS = ("--budget", "3600", "--concurrency", "1", "--early-stopping", "none", "--trials", str(NUM_TRIALS))
NEVER_READ = {".lock", ".mirror.lock", "mirror.log", "settings.yaml", "log.txt", f"{LEDGER}-shm"}
"""What nobody reads back: for people, for locks; SQLite makes its index anew when nobody has the ledger open."""
QUICK = {("truncated", LEDGER), ("flipped", "model.safetensors"), ("emptied", f"{LEDGER}-wal")}

DAMAGES: dict[str, Damage] = {"truncated": truncate, "flipped": flip_bit, "emptied": empty}


@pytest.fixture
def killed(marked_bench: Bench) -> tuple[Bench, Events]:
    """A search whose first trial has ended and whose second had two checkpoints when its driver was killed."""
    bench = marked_bench
    process = driving.start(bench, *driving.command(bench, *ARGS))
    with Observer(driving.folder_of(bench) / LEDGER) as observer:
        while observer.num("end") == 0 or len(_checkpoints(driving.folder_of(bench))) < 2:
            assert process.poll() is None, driving.said(bench)
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    at_once = [Path(shutil.copy2(file, bench.folder / file.name)) for file in driving.folder_of(bench).glob(f"{LEDGER}*")]
    processes.wait_until_gone(driving.mark_of(bench), 30)
    processes.end_all(driving.mark_of(bench))
    driving.folder_of(bench).rename(bench.folder / "template")
    for file in at_once:  # the mirror, which ends later, has moved SQLite's log into the ledger meanwhile
        file.replace(bench.folder / "template" / file.name)
    return bench, read_events(_copy(bench) / LEDGER)[0]


@pytest.mark.faults
def test_each_file_damaged_in_turn(killed: tuple[Bench, Events], row: Callable[..., Row], full: bool) -> None:
    bench, acknowledged = killed
    filled = row(3, "a file of the search's folder truncated, a bit of it flipped, emptied", "from the new start to its end")
    for name, damage, file in _what_to_damage(bench.folder / "template", full):
        path = _copy(bench) / file
        damage(path, random.Random(SEED + filled.runs))
        before, begun = len(driving.said(bench)), time.monotonic()
        code = driving.run(bench, "--resume", driving.FOLDER)
        filled.runs += 1
        filled.recover_seconds.append(time.monotonic() - begun)
        told = driving.said(bench)[before:] + _told_by_trials(driving.folder_of(bench))
        problems = problems_of(driving.folder_of(bench), acknowledged, NUM_TRIALS)
        if path.name == "log.txt":  # it is what the reports are looked up in
            problems = [problem for problem in problems if not problem.endswith("stands in no log")]
        if code != 0:
            problems.append(f"exit code {code}")
        if file.name not in NEVER_READ and str(file) not in told:
            filled.notes.append(f"{file} {name}: not named")
        filled.failures += [f"{file} {name}: {problem}" for problem in problems]
    assert filled.failures == []


@pytest.mark.faults
def test_torn_newest_checkpoint_is_passed_over_and_the_ledger_says_so(
    killed: tuple[Bench, Events], row: Callable[..., Row], full: bool
) -> None:
    bench, acknowledged = killed
    filled = row(5, "the newest checkpoint torn", "from the new start to its end")
    names = sorted({file.name for file in _checkpoints(bench.folder / "template")[-1].rglob("*") if file.is_file()})
    for name in names if full else ["optimizer.safetensors"]:
        newest = _checkpoints(_copy(bench))[-1]
        truncate(next(newest.rglob(name)), random.Random(SEED))
        trial, begun = int(newest.parts[-3]), time.monotonic()
        code = driving.run(bench, "--resume", driving.FOLDER)
        filled.runs += 1
        filled.recover_seconds.append(time.monotonic() - begun)
        filled.redone_intervals.append(float(driving.redone_whole(bench)[trial]))
        filled.failures += [
            *([f"exit code {code}"] if code else []),
            *problems_of(driving.folder_of(bench), acknowledged, NUM_TRIALS),
        ]
        said = [line for report in driving.records(bench)[trial].reports for line in report.get("passed_over", [])]
        filled.failures += (
            [] if any(newest.name in line and name in line for line in said) else [f"{name}: the ledger says {said}"]
        )
    assert filled.failures == []


def _what_to_damage(template: Path, full: bool) -> Iterator[tuple[str, Damage, Path]]:
    """What, how and in which file: of a kept model the manifest and the metrics alone, for its weights are a checkpoint's."""
    files = [path.relative_to(template) for path in sorted(template.rglob("*")) if path.stat().st_size and path.is_file()]
    taken = [file for file in files if "best" not in file.parts or file.name in {"manifest.json", "metrics.json"}]
    for name, damage in DAMAGES.items():
        for file in taken:
            if not _is_older(file, template) and (full or (name, file.name) in QUICK):
                yield name, damage, file


def _is_older(file: Path, template: Path) -> bool:
    """Whether it is of the checkpoint that is not read while the newest is whole."""
    return "checkpoints" in file.parts and _checkpoints(template)[-1].name not in file.parts


def _copy(bench: Bench) -> Path:
    """The folder as the kill left it, under its own name again: configs name no other."""
    shutil.rmtree(driving.folder_of(bench), ignore_errors=True)
    (bench.folder / "runs").mkdir(exist_ok=True)
    return Path(shutil.copytree(bench.folder / "template", driving.folder_of(bench), copy_function=shutil.copy2))


def _checkpoints(folder: Path) -> list[Path]:
    """Those of the last trial, which runs, by number."""
    return checkpoints(folder / TRIALS / f"{NUM_TRIALS - 1:04d}" / "checkpoints")


def _told_by_trials(folder: Path) -> str:
    """What trials' logs and the ledger say was passed over."""
    logs = "".join(path.read_text(encoding="utf-8", errors="replace") for path in folder.glob("trials/*/log.txt"))
    found = [value for event, value in read_events(folder / LEDGER)[0].items() if event.kind == "report"]
    return logs + "".join(line for value in found for line in json.loads(value).get("passed_over", []))
