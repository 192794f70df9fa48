"""A search whose ledger stands in PostgreSQL is killed in one folder and goes on in a copy of it, as on another machine."""

import os
import shutil
import signal

from tests.end_to_end.conftest import QUICK, Bench
from tests.postgresql import needs_server

pytestmark = needs_server


def test_a_killed_search_goes_on_in_another_folder(bench: Bench, url: str) -> None:
    args = ["--data", bench.data, *QUICK, "--budget", "900", "--trials", "3", "--out", "runs/here", "--ledger", url]
    process = bench.start("tuner.search", *args)
    bench.wait_for("here", lambda records: sum(len(record.reports) for record in records) >= 2)
    os.kill(process.pid, signal.SIGSTOP)  # or it might be done by the time that others ask
    second = bench.run("tuner.search", "--resume", "runs/here")
    assert second.code == 2 and "another driver is at work" in second.err
    shutil.copytree(bench.folder / "runs" / "here", bench.folder / "runs" / "early")
    second = bench.run("tuner.search", "--resume", "runs/early")
    assert second.code == 2 and f"process {process.pid}" in second.err, second.err
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = bench.records("here")
    shutil.move(bench.folder / "runs" / "here", bench.folder / "runs" / "there")
    done = bench.run("tuner.search", "--resume", "runs/there")
    assert done.code == 0, done.err
    after = bench.records("there")
    assert [record.number for record in after] == [0, 1, 2]
    assert {record.state for record in after} <= {"complete", "stopped"}
    for old, new in zip(before, after, strict=False):
        assert new.config == old.config and new.reports[: len(old.reports)] == old.reports
    assert not (bench.folder / "runs" / "there" / "study.db").exists()
    shown = bench.run("reports.leaderboard", "runs/there")
    assert shown.code == 0 and "3 trials" in shown.out
