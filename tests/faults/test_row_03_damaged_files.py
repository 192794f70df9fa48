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
from tests.faults.ledger_check import LEDGER, LOG, Events, problems_of, read_events
from tests.faults.scorecard import Row

SEED = 19_690_720
SETTINGS = "settings.yaml"
NEVER_READ = {".lock", ".mirror.lock", "mirror.log", SETTINGS, LOG, f"{LEDGER}-shm"}
"""What nobody reads back: for people, for locks; SQLite makes its index anew when nobody has the ledger open."""
QUICK = {("truncated", LEDGER), ("flipped", "model.safetensors"), ("emptied", f"{LEDGER}-wal"), ("flipped", SETTINGS)}

DAMAGES: dict[str, Damage] = {"truncated": truncate, "flipped": flip_bit, "emptied": empty}


@pytest.mark.faults
def test_each_file_damaged_in_turn(killed: tuple[Bench, Events], row: Callable[..., Row], full: bool) -> None:  # noqa: F811
    bench, acknowledged = killed
    filled = row(3, "a file of the search's folder truncated, a bit of it flipped, emptied", "from the new start to its end")
    as_killed(bench)
    assert driving.run(bench, "--resume", driving.FOLDER) == 0, driving.said(bench)
    undamaged, settings = driving.records(bench), (driving.folder_of(bench) / SETTINGS).read_bytes()
    for name, damage, file in _what_to_damage(template_of(bench), full):
        path = as_killed(bench) / file
        damage(path, random.Random(SEED + filled.runs))
        before, begun = len(driving.said(bench)), time.monotonic()
        code = driving.run(bench, "--resume", driving.FOLDER)
        filled.runs += 1
        filled.recover_seconds.append(time.monotonic() - begun)
        said = driving.said(bench)[before:]
        problems = [
            *([f"exit code {code}"] if code else []),
            *_problems_of_ledger(bench, file, acknowledged),
            *driving.apart(driving.records(bench), undamaged),
            *_problems_of_what_nobody_reads(bench, file, said, settings),
        ]
        filled.failures += [f"{file} {name}: {problem}" for problem in problems]
        if file.name not in NEVER_READ and str(file) not in said + _told_by_trials(driving.folder_of(bench)):
            filled.notes.append(f"{file} {name}: not named")
    assert filled.failures == []


def _problems_of_ledger(bench: Bench, file: Path, acknowledged: Events) -> list[str]:
    problems = problems_of(driving.folder_of(bench), acknowledged, NUM_TRIALS)
    if file.name != LOG:  # it is what the reports are looked up in
        return problems
    return [problem for problem in problems if not problem.endswith("stands in no log")]


def _problems_of_what_nobody_reads(bench: Bench, file: Path, said: str, settings: bytes) -> list[str]:
    """A damage that concerns nobody makes nothing be restored, and settings for people are written anew."""
    restored = [line for line in said.splitlines() if line.startswith("restored: ") and file.name in NEVER_READ]
    written = (driving.folder_of(bench) / SETTINGS).read_bytes() == settings
    return [f"nobody reads it, but: {line}" for line in restored] + (
        [] if written or SETTINGS in said else [f"{SETTINGS} is neither as it was nor named"]
    )


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
