"""Early stopping, audited: who is drawn, and that nothing else changes."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tuner.played_search import by_number, drive, outcome
from tuner.audit import is_audited
from tuner.ledger import Ledger
from tuner.records import TrialRecord
from tuner.rungs import Rungs

CHANGES: dict[str, Any] = {"trials": 16, "audit_share": 0.5}


def drawn(num_stopped: int, share: float, *, num_trials: int = 1000, seed: int = 0) -> list[int]:
    return [n for n in range(num_stopped) if is_audited(n, share, num_trials=num_trials, search_seed=seed)]


@given(st.floats(0.01, 1.0), st.integers(0, 1000), st.integers(1, 2000))
def test_the_share_runs_on_and_one_at_least(share: float, seed: int, num_trials: int) -> None:
    found = drawn(400, share, num_trials=num_trials, seed=seed)
    assert abs(len(found) - 400 * share) <= 1
    assert found[0] < max(1, min(4, num_trials // 4))
    steps = {after - before for before, after in pairwise(found)}
    assert max(steps, default=1) - min(steps, default=1) <= 1
    assert drawn(60, share, num_trials=num_trials, seed=seed) == [place for place in found if place < 60]


def test_a_search_that_grows_goes_on_with_the_same_draw() -> None:
    for seed in range(50):
        assert drawn(200, 0.05, num_trials=16, seed=seed) == drawn(200, 0.05, num_trials=1000, seed=seed)


def test_the_seed_draws_the_place() -> None:
    places = [drawn(100, 0.1, seed=seed)[0] for seed in range(200)]
    assert all(places.count(place) > 25 for place in range(4))
    assert drawn(100, 0.0) == []


def search(toy: Any, folder: Path, listener: Any = lambda *_: None, **changes: Any) -> list[TrialRecord]:
    ledger = toy.new_ledger(folder)
    drive(toy, ledger, by_number, listener, **{**CHANGES, **changes})
    return list(ledger.records())


def test_audited_trials_have_their_full_budget_and_nothing_else_changes(toy: Any, tmp_path: Path) -> None:
    plain, audited = search(toy, tmp_path / "plain", audit_share=0.0), search(toy, tmp_path / "audited")
    run_on = [record for record in audited if record.audited is not None]
    assert 2 <= len(run_on) < sum(record.state == "stopped" for record in plain)
    for before, after in zip(plain, audited, strict=True):
        assert after.config == before.config
        if after.audited is None:
            assert (after.state, after.reports, after.passed_rungs) == (before.state, before.reports, before.passed_rungs)
        else:
            assert (before.state, after.state) == ("stopped", "complete")
            assert after.audited == len(before.reports)
            assert after.reports[: after.audited] == before.reports
            assert after.passed_rungs == before.passed_rungs


def test_the_rungs_are_the_same_when_they_are_made_again(toy: Any, tmp_path: Path) -> None:
    plain, audited = (search(toy, tmp_path / str(share), audit_share=share) for share in (0.0, 0.5))
    rungs = [Rungs.from_records(records, (1, 2), 2).table() for records in (plain, audited)]
    assert rungs[0] == rungs[1]


def test_killed_after_any_event_it_ends_as_if_nothing_had_happened(toy: Any, tmp_path: Path) -> None:
    whole = toy.new_ledger(tmp_path / "whole")
    drive(toy, whole, by_number, **CHANGES)
    for last in range(0, 50, 3):
        events = iter(range(last + 1))

        def die(_event: str, _record: TrialRecord, events: Any = events) -> None:
            if next(events, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            search(toy, tmp_path / f"s{last}", die)
        again = Ledger.open(tmp_path / f"s{last}")
        drive(toy, again, by_number, **CHANGES)
        assert outcome(again) == outcome(whole)
        assert [r.audited for r in again.records()] == [r.audited for r in whole.records()]


def test_it_is_told(toy: Any, tmp_path: Path) -> None:
    events: list[tuple[str, int]] = []
    records = search(toy, tmp_path / "s", lambda event, record: events.append((event, record.number)))
    told = [number for event, number in events if event == "audit"]
    assert sorted(told) == [record.number for record in records if record.audited is not None]
    assert len(told) >= 2
