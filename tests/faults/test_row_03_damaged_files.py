"""Row 3: the files that a killed search leaves are damaged, one at a time, and it is begun again."""

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.damages import Damage, empty, flip_bit, truncate
from tests.end_to_end.conftest import Bench
from tests.faults import driving
from tests.faults.killed_search import NUM_TRIALS, as_killed, killed, newest_checkpoints, template_of  # noqa: F401  a fixture
from tests.faults.ledger_check import LEDGER, Events, problems_of, read_events
from tests.faults.scorecard import Row

SEED = 19_690_720
NEVER_READ = {".lock", ".mirror.lock", "mirror.log", "settings.yaml", "log.txt", f"{LEDGER}-shm"}
"""What nobody reads back: for people, for locks; SQLite makes its index anew when nobody has the ledger open."""
QUICK = {("truncated", LEDGER), ("flipped", "model.safetensors"), ("emptied", f"{LEDGER}-wal")}

DAMAGES: dict[str, Damage] = {"truncated": truncate, "flipped": flip_bit, "emptied": empty}


@pytest.mark.faults
def test_each_file_damaged_in_turn(killed: tuple[Bench, Events], row: Callable[..., Row], full: bool) -> None:  # noqa: F811
    bench, acknowledged = killed
    filled = row(3, "a file of the search's folder truncated, a bit of it flipped, emptied", "from the new start to its end")
    for name, damage, file in _what_to_damage(template_of(bench), full):
        path = as_killed(bench) / file
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
    return "checkpoints" in file.parts and newest_checkpoints(template)[-1].name not in file.parts


def _told_by_trials(folder: Path) -> str:
    """What trials' logs and the ledger say was passed over."""
    logs = "".join(path.read_text(encoding="utf-8", errors="replace") for path in folder.glob("trials/*/log.txt"))
    found = [value for event, value in read_events(folder / LEDGER)[0].items() if event.kind == "report"]
    return logs + "".join(line for value in found for line in json.loads(value).get("passed_over", []))
