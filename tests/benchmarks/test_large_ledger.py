import json
from pathlib import Path

import pytest

from benchmarks.commands import ProgramEntry
from benchmarks.large_ledger import LargeLedger, fill
from benchmarks.measuring import alternate
from tuner.ledger import Ledger


def test_a_ledger_is_filled_with_trials_that_have_ended(tmp_path: Path) -> None:
    fill(Ledger.create(tmp_path, {}), 120)
    records = Ledger.open(tmp_path).records()
    assert [record.number for record in records] == list(range(120))
    assert {record.state for record in records} == {"complete", "stopped"}
    assert all(record.config and record.reports for record in records)
    assert [len(record.reports) for record in records[:50]] == [len(record.reports) for record in records[50:100]]


def test_it_measures_in_a_process_of_its_own() -> None:
    [run] = alternate({"12": ProgramEntry(LargeLedger(12))}, rounds=1, warm_ups=0)["12"]
    parts = {"ask, ms", "report, ms", "tell, ms"}
    assert run.seconds * 1000 == pytest.approx(sum(run.more[part] for part in parts))
    assert set(run.more) == parts | {"reading, s", "leaderboard, s"} and min(run.more.values()) > 0
    assert json.dumps(run.more)
