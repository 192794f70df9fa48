from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner import housekeeping
from tuner.housekeeping import Sweeper
from tuner.records import TrialRecord, rank

STATES = ("complete", "stopped", "failed", "running", "interrupted")


def record(number: int, state: Any, scores: tuple[float, ...]) -> TrialRecord:
    return TrialRecord(number, state, {}, {}, tuple({"budget": i, "score": score} for i, score in enumerate(scores)))


RECORDS = st.lists(st.tuples(st.sampled_from(STATES), st.lists(st.floats(0, 1), max_size=2).map(tuple)), max_size=8).map(
    lambda all_: [record(number, *parts) for number, parts in enumerate(all_)]
)


@given(records=RECORDS, keep=st.integers(1, 4), num_known=st.integers(0, 8))
def test_what_is_swept_is_what_nobody_needs(records: list[TrialRecord], keep: int, num_known: int, tmp_path_factory: Any) -> None:
    """Known at the start or heard of one by one."""
    folder: Path = tmp_path_factory.mktemp("sweep")
    for r in records:
        for name in ("checkpoints/report-0001", "best"):
            (folder / "trials" / f"{r.number:04d}" / name).mkdir(parents=True)
        (folder / "trials" / f"{r.number:04d}" / "log.txt").write_text("log")
    for _ in range(2):  # again, nothing is left to do
        sweeper = Sweeper(folder, records[:num_known], keep)
        for r in records[num_known:]:
            sweeper("end" if r.state in {"complete", "stopped", "failed"} else "report", r)
        ended = [r for r in records if r.state in {"complete", "stopped", "failed"}]
        kept = {r.number for r in rank(ended)[:keep]}
        for r in records:
            trial = folder / "trials" / f"{r.number:04d}"
            may_go_on = r not in ended
            assert (trial / "log.txt").exists()
            assert (trial / "checkpoints" / "report-0001").exists() == may_go_on
            assert (trial / "best").exists() == (may_go_on or r.number in kept)


def test_trials_without_a_folder_are_no_trouble(tmp_path: Path) -> None:
    Sweeper(tmp_path, [record(0, "failed", ()), record(1, "complete", (0.5,))], 1)
    assert list(tmp_path.iterdir()) == []


class Heard:
    """What a storage was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, bool, bool]] = []

    def tidy(self, number: int, *, keeps_model: bool, has_just_ended: bool = False) -> None:
        self.told.append((number, keeps_model, has_just_ended))


@given(records=RECORDS, keep=st.integers(1, 4), num_known=st.integers(0, 8))
def test_a_storage_is_told_of_each_trial_that_has_ended(records: list[TrialRecord], keep: int, num_known: int) -> None:
    stored = Heard()
    sweeper = Sweeper(Path("nowhere"), records[:num_known], keep, stored)  # type: ignore[arg-type]
    for r in records[num_known:]:
        sweeper("end" if r.state in {"complete", "stopped", "failed"} else "report", r)
    ended = [r for r in records if r.state in {"complete", "stopped", "failed"}]
    last = {number: keeps_model for number, keeps_model, _ in stored.told}
    assert last == {r.number: r in rank(ended)[:keep] for r in ended}
    just_now = {number for number, _, has_just_ended in stored.told if has_just_ended}
    assert just_now == {r.number for r in ended if r in records[num_known:]}


def test_the_most_that_was_seen_in_a_folder_stays_and_looks_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(housekeeping.time, "monotonic", lambda: now[0])
    disk = housekeeping.PeakDisk(tmp_path, 5_000)
    nobody = TrialRecord(0, "running", {}, {}, ())
    disk("ask", nobody)
    assert disk.num_bytes == 5_000  # that of an earlier driver
    (tmp_path / "weights").write_bytes(b"x" * 100_000)
    disk("report", nobody)
    assert disk.num_bytes == 5_000  # it has just looked
    now[0] += 5.0
    disk("report", nobody)
    assert disk.num_bytes >= 100_000
    (tmp_path / "weights").unlink()
    now[0] += 5.0
    disk("end", nobody)
    assert disk.num_bytes >= 100_000
