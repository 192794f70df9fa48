"""Row 21: secrets of environment and addresses appear nowhere; what a search makes is its owner's alone, under umask 022."""

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import QUICK, Bench, make_bench, small_data  # noqa: F401 - fixtures
from tuner.cluster import scratch_parent

CANARY = "canary7f3a9c"
SECRETS = {
    "MLFLOW_TRACKING_PASSWORD": f"{CANARY}-mlflow",
    "MLFLOW_TRACKING_USERNAME": "somebody",
    "MLFLOW_TRACKING_TOKEN": f"{CANARY}-token",
    "HF_TOKEN": f"hf_{CANARY}hub",
    "AWS_ACCESS_KEY_ID": f"{CANARY}-aws-id",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-aws",
    "AWS_SESSION_TOKEN": f"{CANARY}-aws-session",
    "PGPASSWORD": f"{CANARY}-postgres",
    "SOME_PASSWORD": f"{CANARY}-other",
}
pytestmark = [
    pytest.mark.row(21, "secrets in environment and addresses, and umask 022: nothing is told, no file is open to others"),
    pytest.mark.faults,
]


def command_lines() -> Iterator[str]:
    """Of all processes, as `ps` shows them."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def scratch_of(pid: int) -> Path | None:
    """The scratch folder of a driver, once it is there."""
    for file in scratch_parent().glob("tritune-*/pid"):
        with contextlib.suppress(OSError):
            if file.read_text() == str(pid):
                return file.parent
    return None


def files_below(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def with_canary(folder: Path) -> list[Path]:
    found = []
    for path in files_below(folder):
        with contextlib.suppress(OSError):
            if CANARY.encode() in path.read_bytes():
                found.append(path)
    return found


def too_open(folder: Path) -> list[str]:
    """Files and folders that others than their owner may read, write or enter, the folder itself included."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [folder, *folder.rglob("*")] if not path.is_symlink()}
    return [f"{path} {mode:04o}" for path, mode in modes.items() if mode & 0o077]


def test_a_search_tells_no_secret_and_opens_no_file(make_bench: object, tmp_path: Path) -> None:  # noqa: F811
    bench: Bench = make_bench("canaries")  # type: ignore[operator]
    bench.environment.update(SECRETS)
    bench.environment["HOME"] = str(tmp_path)
    before, seen, opened = os.umask(0o022), set(), set()
    try:
        args = ["--data", bench.data, *QUICK, "--budget", "180", "--trials", "2", "--out", "runs/s"]
        process = bench.start("tuner.search", *args)
        while process.poll() is None:
            seen |= {line for line in command_lines() if CANARY in line}
            scratch = scratch_of(process.pid)
            if scratch is not None:
                seen |= {str(path) for path in with_canary(scratch)}
                with contextlib.suppress(OSError):
                    opened |= {path for path in (scratch, scratch / "token") if path.stat().st_mode & 0o077}
            time.sleep(0.5)
        out, err = process.communicate()
    finally:
        os.umask(before)
    assert process.returncode == 0, err
    assert (seen, opened) == (set(), set())
    assert CANARY not in out + err
    runs = bench.folder / "runs"
    assert {"study.db", "best", "trials", "settings.yaml", "mirror.log"} <= {path.name for path in (runs / "s").iterdir()}
    assert (runs / "mlflow.db").is_file() and any(files_below(runs / "mlartifacts"))
    assert with_canary(bench.folder) == []
    assert too_open(runs) == []


@pytest.mark.parametrize(
    "args",
    [
        ["--tracking-uri", f"http://somebody:{CANARY}@127.0.0.1:9"],
        ["--tracking-uri", f"postgresql://somebody:{CANARY}@127.0.0.1/db"],
        ["--tracking-uri", f"sqlite:///x.db?token={CANARY}"],
        ["--data", f"s3://somebody:{CANARY}@bucket/x"],
        ["--set", f"encoder.name=https://somebody:{CANARY}@host/model"],
    ],
)
def test_an_address_with_a_secret_in_it_is_refused_and_not_repeated(make_bench: object, args: list[str]) -> None:  # noqa: F811
    bench: Bench = make_bench("addresses")  # type: ignore[operator]
    done = bench.run("tuner.search", *args)
    assert done.code == 2
    assert "stand in it" in done.err or "without options" in done.err
    assert CANARY not in done.out + done.err
    assert with_canary(bench.folder) == []
