"""Row 13: a trial without memory is hit alone, tried once more with half as many examples at once, then told to the sampler."""

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tests.faults.simulated_search import FAULTY, HOARD_BYTES, NUM_REPORTS, NUM_TRIALS, run_in
from trainables.config import TrialConfig
from trainables.memory import count_oom_kills
from tuner.ledger import Ledger
from tuner.ledger_places import LEDGER_FILE
from tuner.records import TrialRecord

pytestmark = [pytest.mark.row(13, "a trial without memory: refused, or killed by the kernel"), pytest.mark.faults]
LIMIT_BYTES = HOARD_BYTES // 2
GROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group, of version 2 or 1, with a limit that Ray and two workers fit into."""
    name = f"tritune-{uuid.uuid4().hex[:8]}"
    for folder, limit in ((GROUPS / name, "memory.max"), (GROUPS / "memory" / name, "memory.limit_in_bytes")):
        try:
            folder.mkdir()
            if (folder / limit).exists():
                (folder / limit).write_text(str(LIMIT_BYTES))
                break
            folder.rmdir()
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
    else:
        pytest.skip("no control group with a limit of memory can be made here (root is needed)")
    yield folder
    while left := (folder / "cgroup.procs").read_text().split():  # of a search that failed
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.1)
    folder.rmdir()


def check_others(records: list[TrialRecord]) -> None:
    others = [record for record in records if record.number != FAULTY]
    assert [(record.state, len(record.reports)) for record in others] == [("complete", NUM_REPORTS)] * (NUM_TRIALS - 1)
    assert {record.micro_batch_size for record in others} == {None}


def check_tried_once_more(folder: Path) -> None:
    records = Ledger.open(folder).records()
    check_others(records)
    again = records[FAULTY]
    assert (again.state, len(again.reports)) == ("complete", NUM_REPORTS), again.detail
    assert again.micro_batch_size == TrialConfig.parse(again.config).data.batch_size // 2


def check_failed(folder: Path) -> None:
    records = Ledger.open(folder).records()
    check_others(records)
    failed = records[FAULTY]
    assert (failed.state, failed.reason, len(failed.reports)) == ("failed", "out_of_memory", 1)
    [summary] = optuna.get_all_study_summaries(storage=f"sqlite:///{folder / LEDGER_FILE}")
    trials = optuna.load_study(storage=f"sqlite:///{folder / LEDGER_FILE}", study_name=summary.study_name).trials
    assert [trial.constraints for trial in trials if trial.constraints] == [{"out_of_memory": 1.0}]
    assert trials[FAULTY].state.name == "FAIL"


def test_an_allocation_that_fails_is_tried_once_more(tmp_path: Path) -> None:
    run_in(tmp_path, "refuse")
    check_tried_once_more(tmp_path)


@pytest.mark.faults(quick=False)
def test_one_that_fails_again_is_told_to_optuna(tmp_path: Path) -> None:
    run_in(tmp_path, "refuse-always")
    check_failed(tmp_path)


@pytest.mark.skipif(not os.access("/proc/self/cgroup", os.R_OK), reason="control groups are Linux's")
def test_a_worker_that_the_kernel_kills_is_tried_once_more_and_the_driver_lives(tmp_path: Path, group: Path) -> None:
    run_in(tmp_path, "hoard", group)
    assert oom_kills_of(group) == 1
    check_tried_once_more(tmp_path)


@pytest.mark.faults(quick=False)
@pytest.mark.skipif(not os.access("/proc/self/cgroup", os.R_OK), reason="control groups are Linux's")
def test_one_that_it_kills_again_is_told_to_optuna(tmp_path: Path, group: Path) -> None:
    run_in(tmp_path, "hoard-always", group)
    assert oom_kills_of(group) == 2
    check_failed(tmp_path)


def oom_kills_of(group: Path) -> int:
    """Read as a process of the group would."""
    is_first_version = group.parent.name == "memory"
    line = f"4:memory:/{group.name}" if is_first_version else f"0::/{group.name}"
    listed = Path(os.environ.get("TMPDIR", "/tmp")) / f"{group.name}.cgroup"
    listed.write_text(f"{line}\n")
    try:
        return count_oom_kills(listed)
    finally:
        listed.unlink()
