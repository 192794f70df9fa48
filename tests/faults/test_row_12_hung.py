"""Row 12: a trial that hangs is found, its stack is kept, it is ended, the others go on, and nobody starts it again."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import QUICK, Bench
from tests.faults.scorecard import Row, first_if_quick
from tests.faults.simulated_search import FAULTY, HANGS, LIMIT_SECONDS, NUM_REPORTS, NUM_TRIALS, run_in
from trainables.heartbeat import HEARTBEAT, STACK, read_beat
from tuner.ledger import Ledger
from tuner.records import TrialRecord
from tuner.search_folder import trial_folder

pytestmark = [
    pytest.mark.row(12, "a trial that hangs: a loop, a lock, a stopped process", "from its last step to its ending"),
    pytest.mark.faults,
]
GRACE_SECONDS = 10
REAL_LIMIT_SECONDS = 30
"""A worker on a busy machine is silent for ten seconds while it imports torch."""


def silent_seconds(detail: str) -> float:
    found = re.match(r"no step for (\d+) s, over its limit of ([\d.]+) s", detail)
    assert found, detail
    return float(found[1])


@pytest.mark.parametrize("fault", first_if_quick(HANGS))
def test_hung_trial_is_ended_alone(fault: str, tmp_path: Path, shared_row: Row) -> None:
    run_in(tmp_path, fault)
    records = Ledger.open(tmp_path).records()
    assert [record.state for record in records if record.number != FAULTY] == ["complete"] * (NUM_TRIALS - 1)
    assert {len(record.reports) for record in records if record.number != FAULTY} == {NUM_REPORTS}
    hung = records[FAULTY]
    assert (hung.state, hung.reason, len(hung.reports)) == ("failed", "hung", 1)
    shared_row.recover_seconds.append(silent_seconds(hung.detail))
    assert LIMIT_SECONDS <= silent_seconds(hung.detail) <= LIMIT_SECONDS + GRACE_SECONDS
    folder = trial_folder(tmp_path, FAULTY)
    assert HANGS[fault].__name__ in (folder / STACK).read_text()
    assert (folder / "starts").read_text() == "started\n"
    for number in range(NUM_TRIALS):
        assert not (trial_folder(tmp_path, number) / HEARTBEAT).exists()
        assert (trial_folder(tmp_path, number) / STACK).exists() == (number == FAULTY)


def test_worker_stopped_in_a_real_search_is_found_and_the_search_goes_on(bench: Bench, shared_row: Row) -> None:
    args = ["--data", bench.data, *QUICK, "--budget", "24000", "--trials", "3", "--out", "runs/h", "--early-stopping", "none"]
    process = bench.start("tuner.search", *args, "--hang-limit", f"{REAL_LIMIT_SECONDS}s")
    early: list[int] = []  # trials that run and are far from their end

    def one_is_early(records: list[TrialRecord]) -> bool:
        early[:] = [record.number for record in records if record.state == "running" and len(record.reports) == 1]
        return bool(early)

    bench.wait_for("h", one_is_early)
    victim = early[0]
    beat = read_beat(trial_folder(bench.folder / "runs" / "h", victim))
    assert beat is not None
    os.kill(beat.pid, signal.SIGSTOP)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    records = bench.records("h")
    assert [(record.state, record.detail) for record in records if record.number != victim] == [("complete", "")] * 2
    hung = records[victim]
    assert (hung.state, hung.reason) == ("failed", "hung")
    assert "its process was stopped" in hung.detail
    shared_row.recover_seconds.append(silent_seconds(hung.detail))
    assert silent_seconds(hung.detail) <= REAL_LIMIT_SECONDS + GRACE_SECONDS
    assert "trainables/trainer.py" in (trial_folder(bench.folder / "runs" / "h", victim) / STACK).read_text()
    wait_until_gone(beat.pid)
    resumed = bench.run("tuner.search", "--resume", "runs/h")
    assert resumed.code == 0, resumed.err
    assert [record.state for record in bench.records("h")] == [record.state for record in records]


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until, f"process {pid} is still there"
        time.sleep(0.1)
