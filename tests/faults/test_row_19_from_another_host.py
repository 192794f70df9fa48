"""Row 19: from another host, a network namespace here, every port of a running search is swept: no task runs, nothing is read."""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import QUICK, ROOT, Bench, make_bench, small_data  # noqa: F401 - fixtures
from tests.faults.test_row_21_canaries_and_modes import scratch_of

NAME = f"tritune-a{os.getpid() % 10_000}"
OURS, THEIRS = "10.213.77.1", "10.213.77.2"
pytestmark = [
    pytest.mark.row(19, "every port of a running search swept from another host, without a token and with a wrong one"),
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="makes a network namespace: wants root and iproute2"),
]
KINDS = {"gcs_server": "gcs_server", "raylet/raylet": "raylet", "ray::RuntimeEnvAgent": "runtime_env_agent", "ray::": "worker"}


def ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True)


@pytest.fixture(scope="module")
def other_host() -> Iterator[str]:
    """A network namespace joined to this one by a pair of interfaces."""
    try:
        ip("netns", "add", NAME)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", f"{NAME[-6:]}o", "type", "veth", "peer", "name", f"{NAME[-6:]}t", "netns", NAME)
        ip("addr", "add", f"{OURS}/30", "dev", f"{NAME[-6:]}o")
        ip("link", "set", f"{NAME[-6:]}o", "up")
        ip("-n", NAME, "addr", "add", f"{THEIRS}/30", "dev", f"{NAME[-6:]}t")
        ip("-n", NAME, "link", "set", f"{NAME[-6:]}t", "up")
        ip("-n", NAME, "link", "set", "lo", "up")
        ip("-n", NAME, "route", "add", "default", "via", OURS)
        yield NAME
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("netns", "del", NAME)


def listeners(pid: int) -> dict[tuple[str, int], tuple[int, str]]:
    """Address and port -> process and kind, of all TCP ports on which a search's processes listen."""
    found = {}
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline())
            kind = next(
                (kind for words, kind in KINDS.items() if words in title.split(" --")[0]),
                "driver" if process.pid == pid else title,
            )
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.ip, connection.laddr.port] = (process.pid, kind)
    return found


def documented() -> dict[str, int]:
    """Kind of process -> ports of each, as docs/security.md says."""
    rows = re.findall(
        r"^\| (\w+) \| (\d)(?: each)? \| (?:all interfaces|the node's address) \|", (ROOT / "docs/security.md").read_text(), re.M
    )
    return {kind: int(count) for kind, count in rows}


def intrude(host: str, address: str, ports: list[int], token: str, file: Path) -> list[str]:
    """What worked from another host (or from this one, where `host` is empty)."""
    command = [sys.executable, "-m", "tests.faults.intruder", address, ",".join(map(str, ports)), token, str(file)]
    inside = ["ip", "netns", "exec", host, *command] if host else command
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_gcs_rpc_server_connect_timeout_s": "5"}
    environment |= {"RAY_gcs_rpc_server_reconnect_timeout_s": "5", "RAY_NUM_REDIS_GET_RETRIES": "2"}
    done = subprocess.run(inside, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    worked: list[str] = json.loads(done.stdout.splitlines()[-1])
    return worked


def test_every_port_is_swept_from_another_host(make_bench: object, other_host: str, tmp_path: Path) -> None:  # noqa: F811
    bench: Bench = make_bench("swept")  # type: ignore[operator]
    args = ["--data", bench.data, *QUICK, "--budget", "2000000", "--trials", "2", "--set", "num_reports=1000", "--out", "runs/s"]
    process = bench.start("tuner.search", *args)
    try:
        bench.wait_for("s", lambda records: any(record.reports for record in records))
        found = listeners(process.pid)
        by_process = Counter(found.values())
        assert {(kind, count) for (_, kind), count in by_process.items()} == set(documented().items())
        assert {kind for (_, kind) in found.values()} >= {"driver", "gcs_server", "raylet", "worker"}
        scratch = scratch_of(process.pid)
        assert scratch is not None
        gcs = [port for (_, port), (_, kind) in found.items() if kind == "gcs_server"]
        control = intrude("", OURS, gcs, (scratch / "token").read_text(), tmp_path / "control")
        assert any("keys" in line for line in control), "with the token the same sweep reads"
        made = tmp_path / "made"
        for address in sorted({OURS, *(ip for ip, _ in found if ip not in {"::", "0.0.0.0", "127.0.0.1"})}):
            for token in ("none", secrets.token_hex(32)):
                assert intrude(other_host, address, [port for _, port in found], token, made) == []
        assert not made.exists()
        assert process.poll() is None, "the search goes on"
    finally:
        os.kill(process.pid, signal.SIGINT)
        time.sleep(1)
        process.communicate(timeout=100)
