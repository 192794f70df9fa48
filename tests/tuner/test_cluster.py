import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.cluster import count_gpus, num_slots, remove_stale_scratch, scratch_parent
from tuner.processes import count_cpus
from tuner.settings import SearchSettings


@given(
    st.integers(1, 64),
    st.integers(0, 8),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 1.0, 2.0]),
    st.none() | st.integers(1, 20),
)
def test_the_slots_fit_the_machine_and_one_more_would_not(
    num_cpus: int, num_gpus: int, cpus_each: int, gpus_each: float, concurrency: int | None
) -> None:
    settings = SearchSettings(cpus_per_trial=cpus_each, gpus_per_trial=gpus_each, concurrency=concurrency)
    slots = num_slots(settings, num_cpus, num_gpus)

    def fits(count: int) -> bool:
        enough = count * cpus_each <= num_cpus and count * gpus_each <= num_gpus + 1e-6
        return enough and (concurrency is None or count <= concurrency)

    assert fits(slots) and not fits(slots + 1)


@pytest.mark.parametrize(
    ("changes", "cpus", "gpus", "slots"),
    [
        ({}, 2, 0, 2),
        ({"concurrency": 1}, 2, 0, 1),
        ({"concurrency": 9}, 2, 0, 2),
        ({"cpus_per_trial": 4}, 2, 0, 0),
        ({"gpus_per_trial": 0.25}, 16, 1, 4),
        ({"gpus_per_trial": 0.1}, 16, 1, 10),
        ({"gpus_per_trial": 1.0}, 16, 0, 0),
        ({"gpus_per_trial": 2.0}, 16, 3, 1),
    ],
)
def test_the_slots_of_some_machines(changes: dict[str, float], cpus: int, gpus: int, slots: int) -> None:
    assert num_slots(SearchSettings(**changes), cpus, gpus) == slots  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,1", 2), (" 3 , 1", 2), ("0,-1,1", 1), ("GPU-8932f937,MIG-1", 2)]
)
def test_only_gpus_that_may_be_seen_are_counted(visible: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == count


def test_without_a_word_from_cuda_the_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    names = ["nvidia0", "nvidia1", "nvidia10"]
    monkeypatch.setattr(Path, "glob", lambda _self, pattern: [Path("/dev", n) for n in names if Path(n).match(pattern)])
    assert count_gpus() == 3


def test_cpus_are_those_that_the_process_may_use() -> None:
    assert count_cpus() == len(os.sched_getaffinity(0)) >= 1
    bind = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    code = f"{bind}; from tuner.cluster import scratch_parent; from tuner.processes import count_cpus; print(count_cpus())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_only_the_scratch_of_dead_drivers_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        dead = process.pid
    process.wait()
    monkeypatch.setattr("tuner.cluster.scratch_parent", lambda: tmp_path)
    pids = {
        "tritune-dead": str(dead),
        "tritune-mine": str(os.getpid()),
        "tritune-init": "1",
        "tritune-odd": "no number",
        "tritune-empty": None,
        "other-dead": str(dead),
    }
    for name, pid in pids.items():
        (tmp_path / name / "ray").mkdir(parents=True)
        if pid is not None:
            (tmp_path / name / "pid").write_text(pid)
    (tmp_path / "tritune-file").write_text("a file")
    remove_stale_scratch()
    assert {path.name for path in tmp_path.iterdir()} == {*pids, "tritune-file"} - {"tritune-dead"}


def test_counting_imports_neither_ray_nor_torch() -> None:
    code = "import sys, tuner.cluster; sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_scratch_goes_where_rays_sockets_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/var/tmp")
    assert scratch_parent() == Path("/var/tmp")
    monkeypatch.setattr("tempfile.tempdir", "/scratch/users/somebody/job/4711/tmp")
    assert scratch_parent() == Path("/tmp")
