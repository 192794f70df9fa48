"""Real commands in real processes: real Ray, MLflow and SQLite, on a small folder of CS224N files and the tiny encoder."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainables.data.sample import make_sample
from trainables.tasks import CS224N
from tuner.ledger import Ledger, TrialRecord
from tuner.ledger_places import LedgerError

ROOT = Path(__file__).resolve().parents[2]
NUM_ROWS = {"train": 120, "dev": 40, "test": 10}
QUICK = ["--space", "basics", "--confirm", "0", "--audit-share", "0", "--set", "encoder.name=tiny", "--set", "data.max_tokens=48"]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


class Bench:
    """A folder to run commands in."""

    def __init__(self, folder: Path, data: Path, cache: Path) -> None:
        self.folder, self.data = folder, data
        self._started: list[subprocess.Popen[str]] = []
        self.environment = {**os.environ, "TRITUNE_CACHE": str(cache), "PYTHONPATH": str(ROOT), "COLUMNS": "120"}

    def start(self, module: str, *args: str | Path) -> subprocess.Popen[str]:
        """A command, begun, in a process group of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, args)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end_all(self) -> None:
        """Ends what a test that failed has left running, which would be held against the next one, and closes all pipes."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def run(self, module: str, *args: str | Path, timeout_seconds: float = 180) -> Done:
        """A command, run to its end."""
        process = self.start(module, *args)
        try:
            out, err = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Done(process.returncode, out, err)

    def search(self, *args: str | Path) -> Done:
        """A quick search on the small data."""
        return self.run("tuner.search", "--data", self.data, *QUICK, *args)

    def records(self, name: str) -> list[TrialRecord]:
        """What the ledger of `runs/<name>` holds."""
        return Ledger.open(self.folder / "runs" / name).records()

    def wait_for(self, name: str, is_so: Callable[[list[TrialRecord]], bool], timeout_seconds: float = 120) -> None:
        """Waits until the ledger of `runs/<name>` is as wanted."""
        until = time.monotonic() + timeout_seconds
        while time.monotonic() < until:
            try:
                if is_so(self.records(name)):
                    return
            except LedgerError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the ledger of {name} did not come to be as wanted in {timeout_seconds} s")


def write_small_data(folder: Path) -> None:
    """A few rows of the sample corpus as CS224N's files."""
    for name, by_split in make_sample().items():
        task = CS224N.by_name[name]
        for split, rows in by_split.items():
            stem = "test-student" if split == "test" else split
            columns = ["id", *task.sentence_columns, *([] if split == "test" else [task.label_column])]
            with (folder / f"{task.file_stem}-{stem}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter="\t", lineterminator="\n")
                writer.writerow(columns)
                for row in range(NUM_ROWS[split]):
                    label = [] if split == "test" else [float(rows.labels[row]) if task.name != "sst" else int(rows.labels[row])]
                    writer.writerow([rows.ids[row], *(column[row] for column in rows.sentences), *label])


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_small_data(folder)
    return folder


@pytest.fixture(scope="session")
def make_bench(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Iterator[Callable[[str], Bench]]:
    cache = tmp_path_factory.mktemp("cache")
    made: list[Bench] = []

    def make(name: str) -> Bench:
        made.append(Bench(tmp_path_factory.mktemp(name), small_data, cache))
        return made[-1]

    yield make
    for bench in made:
        bench.end_all()


@pytest.fixture
def bench(make_bench: Callable[[str], Bench]) -> Iterator[Bench]:
    made = make_bench("bench")
    yield made
    made.end_all()
