"""A search whose trials are stored on an S3 server, killed, moved, gone on with and exported from there."""

import os
import shutil
import signal
from pathlib import Path

from tests.end_to_end.conftest import QUICK, Bench
from tests.s3_server import CREDENTIALS, S3Server
from trainables.storage import Storage

NUM_TRIALS = 4
QUICK_AND_KEEPING = [*QUICK, "--keep-models", "2"]


def test_a_search_is_stored_killed_moved_and_exported(bench: Bench, s3: S3Server, tmp_path: Path) -> None:
    bench.environment |= CREDENTIALS
    place = s3.at("searches")
    args = ["--trials", str(NUM_TRIALS), "--budget", "900", "--storage", place, "--early-stopping", "none"]
    process = bench.start("tuner.search", "--data", bench.data, *QUICK_AND_KEEPING, *args, "--out", "runs/x")
    bench.wait_for("x", lambda records: any(len(record.reports) > 2 for record in records))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    known = {record.number: len(record.reports) for record in bench.records("x")}
    stored = Storage(place)
    [own] = names_below(stored)
    assert own.startswith("x-")

    shutil.move(bench.folder / "runs" / "x", bench.folder / "runs" / "moved")  # as to another machine
    bench.environment["TRITUNE_CACHE"] = str(tmp_path / "cache")
    done = bench.run("tuner.search", "--resume", "runs/moved", timeout_seconds=300)
    assert done.code == 0, done.out + done.err
    records = bench.records("moved")
    assert [record.state for record in records] == ["complete"] * NUM_TRIALS
    assert all(len(records[number].reports) >= count for number, count in known.items())
    kept = stored.below(own, "trials")
    assert [kept.below(f"{number:04d}").sealed("checkpoints") for number in range(NUM_TRIALS)] == [[]] * NUM_TRIALS
    assert sum(bool(kept.below(f"{number:04d}").sealed("best")) for number in range(NUM_TRIALS)) == 2
    folders = [bench.folder / "runs" / "moved" / "trials" / f"{number:04d}" for number in range(NUM_TRIALS)]
    logs = [(folder / "log.txt").read_text() for folder in folders]
    assert any("goes on from report-" in log for log in logs)
    assert not list((tmp_path / "cache" / "trials").glob("*/*"))
    assert "stored in s3://tritune/searches/x-" in done.out

    looked_over = bench.run("tuner.doctor", "runs/moved")
    assert looked_over.code == 0, looked_over.out
    assert "2 checkpoints and kept models, each with its files" in looked_over.out


def names_below(storage: Storage) -> list[str]:
    return list(storage._names(""))
