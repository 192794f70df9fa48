import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.s3_server import free_port
from tests.tuner.planning import TINY, problems_of
from trainables.parts import ConfigError
from tuner import cluster_join
from tuner.cluster_join import Cluster, Node, check_nodes, describe_trial, find_cluster, running_addresses
from tuner.ledger import Ledger
from tuner.prepare import prepare
from tuner.settings import SearchSettings

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = {"ray": "2.60.0", "python": "3.11.7"}
OURS = {"state": "ours", "versions": VERSIONS, "driver": VERSIONS, "nodes": []}


def cluster_of(*resources: tuple[int, int]) -> Cluster:
    nodes = (Node(f"id{n}", f"host{n}", f"10.0.0.{n}", cpus, gpus) for n, (cpus, gpus) in enumerate(resources))
    return Cluster("10.0.0.1:6379", Path("token"), tuple(nodes))


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    return path


@pytest.fixture
def answers(token: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, dict[str, Any]]], None]:
    """Clusters that run here, and what they answer."""

    def stand(by_address: dict[str, dict[str, Any]]) -> None:
        monkeypatch.setattr(cluster_join, "running_addresses", lambda: sorted(by_address))
        monkeypatch.setattr(cluster_join, "_ask", lambda question, _token, _seconds: by_address[question["address"]])

    return stand


NODES = st.lists(st.tuples(st.integers(0, 16), st.integers(0, 4)), max_size=5)


@given(NODES, st.integers(1, 4), st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), st.none() | st.integers(1, 9))
def test_every_slot_lies_on_one_node(
    nodes: list[tuple[int, int]], cpus_each: int, gpus_each: float, concurrency: int | None
) -> None:
    settings = SearchSettings(cpus_per_trial=cpus_each, gpus_per_trial=gpus_each, concurrency=concurrency)
    cluster = cluster_of(*nodes)
    hold = [min(cpus // cpus_each, int(gpus / gpus_each) if gpus_each else cpus) for cpus, gpus in nodes]
    assert cluster.slots(settings) == (concurrency or sum(hold))
    assert len(cluster.usable(settings)) == sum(count > 0 for count in hold) or concurrency


def test_a_cluster_and_a_trials_share_in_words() -> None:
    assert str(cluster_of((8, 0), (4, 1), (1, 2))) == "3 nodes: host0 (8 CPUs), host1 (4 CPUs, 1 GPU), host2 (1 CPU, 2 GPUs)"
    assert str(cluster_of((8, 0))) == "1 node: host0 (8 CPUs)"
    assert describe_trial(SearchSettings()) == "each trial has 1 CPU"
    assert (
        describe_trial(SearchSettings(cpus_per_trial=2, gpus_per_trial=0.25))
        == "each trial has 2 CPUs and 0.25 GPU (4 trials a GPU)"
    )
    assert describe_trial(SearchSettings(gpus_per_trial=1.0)) == "each trial has 1 CPU and 1 GPU"
    assert describe_trial(SearchSettings(gpus_per_trial=0.75)) == "each trial has 1 CPU and 0.75 GPU"


def test_only_rays_own_processes_of_this_user_are_looked_at(tmp_path: Path) -> None:
    commands = {
        "12": ["/x/ray/raylet/raylet", "--raylet_socket_name=s", "--gcs-address=10.0.0.1:6379"],
        "13": ["/x/ray/raylet/raylet", "--gcs-address=10.0.0.1:6379"],
        "14": ["python", "raylet", "--gcs-address=10.0.0.2:6379"],
        "15": ["/x/ray/raylet/raylet"],
        "16": [""],
        "17": ["/x/raylet", "--gcs-address=10.0.0.3:6379"],
        "self": ["/x/raylet", "--gcs-address=10.0.0.4:6379"],
    }
    for name, words in commands.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cmdline").write_bytes(b"\0".join([*map(str.encode, words), b"\xff", b""]))
    (tmp_path / "18").mkdir()  # it has ended meanwhile
    assert running_addresses(tmp_path) == ["10.0.0.1:6379", "10.0.0.3:6379"]
    if os.geteuid() == 0:
        os.chown(tmp_path / "17", 12345, -1)
        assert running_addresses(tmp_path) == ["10.0.0.1:6379"]


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: path.write_text(" \n"), "but it is empty"),
        (lambda path: path.chmod(0o644), "but its mode is 644; chmod 600"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "it is no text"),
    ],
    ids=["missing", "empty", "readable", "bytes"],
)
def test_a_token_that_is_none_is_told(write: Callable[[Path], Any], words: str, token: Path) -> None:
    write(token)
    [problem] = problems_of(lambda: find_cluster("auto"))
    assert words in problem
    assert str(token) in problem


@pytest.mark.parametrize(
    ("address", "clusters", "words"),
    [
        ("auto", {}, ["no process of a Ray cluster of yours runs on this machine"]),
        ("h:2", {"h:1": OURS}, ["no process of the Ray cluster at h:2 of yours runs on this machine"]),
        ("auto", {"h:1": {"state": "foreign"}}, ["at h:1 refuses the token in"]),
        ("auto", {"h:1": {"state": "silent"}}, ["at h:1 does not answer", "`ray stop`"]),
        ("auto", {"h:1": {"state": "open"}}, ["at h:1 takes any token", "RAY_AUTH_MODE=token"]),
        ("auto", {"h:1": OURS, "h:2": OURS}, ["one cluster of yours must run here, but got h:1, h:2"]),
        ("auto", {"h:1": {**OURS, "versions": {**VERSIONS, "ray": "2.59.0"}}}, ["Ray 2.60.0 and", "but has Ray 2.59.0 and"]),
        ("auto", {"h:1": {**OURS, "versions": {**VERSIONS, "python": "3.12.1"}}}, ["Python 3.11.7, but", "Python 3.12.1"]),
    ],
)
def test_what_is_not_ours_is_refused_and_named(
    address: str, clusters: dict[str, Any], words: list[str], answers: Callable[[Any], None]
) -> None:
    answers(clusters)
    [problem] = problems_of(lambda: find_cluster(address))
    assert problem.startswith("--address: ")
    assert all(word in problem for word in words), problem


def test_of_several_the_one_that_is_ours_or_is_named_is_joined(answers: Callable[[Any], None], token: Path) -> None:
    answers({"h:1": {"state": "foreign"}, "h:2": OURS, "h:3": {"state": "silent"}})
    assert find_cluster("auto") == Cluster("h:2", token, ())
    answers({"h:1": OURS, "h:2": OURS})
    assert find_cluster("h:1").address == "h:1"


def test_what_no_node_holds_is_told(data: Path) -> None:
    plan = prepare({"gpus_per_trial": 0.5}, set_texts=[TINY], data=str(data))
    [problem] = problems_of(lambda: check_nodes(cluster_of((8, 0), (0, 1)), Path("runs/x"), plan))
    assert problem.startswith(
        "each trial asks for 1 CPU and 0.5 GPU (2 trials a GPU), but no node of the cluster has that (2 nodes: "
    )
    assert "--concurrency N" in problem


def test_mistakes_of_the_cluster_come_with_the_others(answers: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.search import _look_at

    answers({"h:1": {"state": "foreign"}})
    with pytest.raises(ConfigError) as caught:
        _look_at({"address": "auto", "trials": "none", "print_config": False})
    assert [any(word in problem for problem in caught.value.problems) for word in ("refuses the token", "--trials")] == [
        True,
        True,
    ]


@pytest.fixture(scope="module", params=["token", pytest.param("disabled", marks=pytest.mark.slow)])
def head(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """A cluster of one node, started as `cluster.onprem.yaml` does: with its token, or open to everybody."""
    folder = tmp_path_factory.mktemp("head")
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    port = free_port()
    scratch = tempfile.mkdtemp(prefix="tt", dir="/tmp")  # short, for Ray's sockets
    command = [
        f"{sys.prefix}/bin/ray",
        "start",
        "--head",
        "--block",
        f"--port={port}",
        "--num-cpus=1",
        "--include-dashboard=false",
    ]
    environment = {"RAY_AUTH_MODE": request.param, "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [*command, "--object-store-memory=100000000", f"--temp-dir={scratch}"],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                break
        [address] = [found for found in running_addresses() if found.endswith(f":{port}")] or said
        yield request.param, address, token
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            shutil.rmtree(scratch, ignore_errors=True)


def test_a_cluster_is_joined_with_its_token_and_only_if_others_are_refused(
    head: tuple[str, str, Path], tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, address, token = head
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    if mode == "disabled":
        [problem] = problems_of(lambda: find_cluster(address))
        assert "takes any token, so that everybody can run anything there" in problem
        return
    cluster = find_cluster(address)
    assert [(node.num_cpus, node.num_gpus, node.host) for node in cluster.nodes] == [(1, 0, socket.gethostname())]
    check_nodes(cluster, tmp_path / "runs" / "x", prepare({}, set_texts=[TINY], data=str(data)))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text(secrets.token_hex(32))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(wrong))
    [problem] = problems_of(lambda: find_cluster(address))
    assert f"refuses the token in {wrong}" in problem


def a_search(address: str, data: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    options = ["--space", "basics", "--set", TINY, "--set", "num_reports=2", "--data", str(data), "--out", str(out), *words]
    command = [sys.executable, "-m", "tuner.search", "--address", address, *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
def test_a_search_joins_it_and_leaves_it_running(
    head: tuple[str, str, Path], tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, address, token = head
    out = tmp_path / "runs" / "x"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # where others are to go
    process = a_search(address, data, out, "--trials", "2", "--budget", "24")
    told, errors = process.communicate()
    if mode == "disabled":
        assert (process.returncode, told) == (2, "")
        assert not out.exists()
        return
    assert process.returncode == 0, errors
    assert f"cluster {address}, 1 node: {socket.gethostname()} (1 CPU); each trial has 1 CPU" in told
    records = Ledger.open(out).records()
    assert len(records) == 2
    assert {report["host"] for record in records for report in record.reports} == {socket.gethostname()}
    assert len(find_cluster(address).nodes) == 1


@pytest.mark.slow
@pytest.mark.parametrize("end", [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)], ids=["ctrl-c", "kill"])
def test_a_driver_that_ends_early_leaves_no_trial_running_and_another_goes_on(
    head: tuple[str, str, Path], end: tuple[int, int], tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, address, token = head
    if mode == "disabled":
        pytest.skip("it is not joined")
    out = tmp_path / "runs" / "x"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    process = a_search(address, data, out, "--trials", "2", "--budget", "4800", "--early-stopping", "none")
    until = time.monotonic() + 120
    while not (out.exists() and (log := out / "trials" / "0000" / "log.txt").exists() and "report 1/2" in log.read_text()):
        assert time.monotonic() < until, process.communicate()
        time.sleep(0.1)
    process.send_signal(end[0])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == end[1], errors
    before = Ledger.open(out).records()
    command = [sys.executable, "-m", "tuner.search", "--address", address, "--resume", str(out), "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = Ledger.open(out).records()
    assert [record.state for record in after] == ["complete", "complete"]
    assert [len(record.reports) for record in after] == [2, 2]
    assert all(new.reports[: len(old.reports)] == old.reports for old, new in zip(before, after, strict=False))


def test_a_cluster_that_has_died_is_silent(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_join, "running_addresses", lambda: [f"127.0.0.1:{free_port()}"])
    [problem] = problems_of(lambda: find_cluster("auto"))
    assert "does not answer: what is left of it still runs here" in problem
