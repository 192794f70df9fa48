"""Row 11: the cluster's head process (its GCS) is killed: the driver ends and says how to go on, which a new cluster does."""

import os
import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.cluster.conftest import cluster, hosts  # noqa: F401 - fixtures
from tests.cluster.ray_up import OnPrem
from tests.faults.on_hosts import HostSearch
from tests.faults.scorecard import Row

pytestmark = pytest.mark.faults
END_SECONDS = 120.0
SOONER = {"RAY_gcs_rpc_server_reconnect_timeout_s": "20"}
WAY_ON = re.compile(r"^nothing is lost; once a cluster runs, go on with: (python -m tuner\.search .*)$", re.M)


def test_the_gcs_is_killed(cluster: OnPrem, row: Callable[..., Row], full: bool) -> None:  # noqa: F811
    filled = row(11, "GCS killed with -9, resumed on a new cluster", "from the kill to the driver's end")
    search = HostSearch(cluster, "gcs", 8, 36_000) if full else HostSearch(cluster, "gcs", 4, 9_000, SOONER)
    with search.observer:
        search.begin()
        search.wait_until(lambda: len({trial for host in cluster.hosts for trial in search.running_on(host.name)}) >= 2)
        assert not search.is_over(), search.said()
        killed = time.monotonic()
        _kill_gcs(cluster)
        search.wait_until(lambda: False, END_SECONDS)
        filled.runs, filled.recover_seconds = 1, [time.monotonic() - killed]
        assert search.process is not None
        assert search.process.returncode == 1, search.said()
        ways = WAY_ON.findall(search.said())
        assert ways == [f"python -m tuner.search --resume /mnt/shared/runs/{search.name} --address auto"], search.said()
        assert "Stack trace" not in search.said() and "Traceback" not in search.said(), search.said()
        before = {record.number: len(record.reports) for record in search.records()}
        cluster.down()
        cluster.up()
        search.resume(ways[0])
        search.wait_until(lambda: False)
        filled.failures += search.problems()
    filled.notes.append(f"{sum(before.values())} reports of {len(before)} trials stood in the ledger when the GCS was killed")
    assert filled.failures == []


def _kill_gcs(cluster: OnPrem) -> None:  # noqa: F811
    [pid] = [pid for pid, command in cluster.head.processes().items() if command.split()[0].endswith("/gcs_server")]
    os.kill(pid, signal.SIGKILL)
