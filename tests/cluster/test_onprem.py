"""`cluster.onprem.yaml` from `ray up` to `ray down`, on three hosts."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.conftest import NAMES
from tests.cluster.hosts import SHARED, Host
from tests.cluster.ray_up import OnPrem
from tests.end_to_end.conftest import QUICK
from tests.s3_server import CREDENTIALS, S3Server
from tuner.cluster_file import problems_of, read_cluster_file
from tuner.ledger import Ledger

pytestmark = pytest.mark.cluster
NUM_TRIALS = 12
FULL_BUDGET = 270
LONGEST_SOCKET = 107 - 28
"""Of a socket's path, what follows the home folder, which may have 28 bytes as the shipped files say."""
CREDENTIALS_FILE = f"""\
[default]
aws_access_key_id = {CREDENTIALS["AWS_ACCESS_KEY_ID"]}
aws_secret_access_key = {CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}
"""


def search(*words: str) -> list[str]:
    """A quick search that joins the cluster, as words for Python."""
    return [
        "-m",
        "tuner.search",
        "--address",
        "auto",
        "--data",
        f"{SHARED}/data",
        "--trials",
        "1",
        "--budget",
        "90",
        *QUICK,
        *words,
    ]


def token_files(host: Host) -> list[str]:
    return host.run("find", "/root/.cache/tritune", "-name", "*.arrow", "-type", "f").stdout.split()


def test_the_file_as_fitted_to_the_hosts_breaks_no_rule(cluster: OnPrem) -> None:
    assert problems_of(read_cluster_file(cluster.file)) == []


def test_all_hosts_join_and_offer_what_they_have(cluster: OnPrem) -> None:
    nodes = cluster.nodes()
    assert sorted((node["host"], node["address"], node["num_cpus"]) for node in nodes) == sorted(
        (host.name, host.address, 1) for host in cluster.hosts
    )


def test_the_token_is_there_for_its_owner_alone(cluster: OnPrem) -> None:
    for host in cluster.hosts:
        assert host.run("stat", "-c", "%a", "/root/.ray/auth_token").stdout == "600\n"


def test_nobody_serves_a_dashboard(cluster: OnPrem) -> None:
    for host in cluster.hosts:
        assert ":8265 " not in host.run("ss", "--listening", "--tcp", "--numeric", "--no-header").stdout


def test_other_accounts_of_a_host_reach_no_file_and_no_socket(cluster: OnPrem) -> None:
    for host in cluster.hosts:
        raylets = [pid for pid, command in host.processes().items() if "/raylet" in command.split()[0]]
        assert [re.findall(r"Umask:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in raylets] == [["0077"]]
        assert host.run("stat", "-c", "%a", "/root/.tritune").stdout == "700\n"
        assert host.run("find", "/tmp", "-maxdepth", "3", "-path", "/tmp/ray*", "-perm", "/077").stdout == ""
        sockets = host.run("find", "/root/.tritune/ray", "-type", "s").stdout.split()
        assert len(sockets) >= 2 and max(len(path) for path in sockets) - len("/root") <= LONGEST_SOCKET


def test_a_search_from_the_head_runs_on_every_host(cluster: OnPrem) -> None:
    out = f"{SHARED}/runs/night"
    words = " ".join(search("--trials", str(NUM_TRIALS), "--budget", str(FULL_BUDGET), "--out", out))
    done = cluster.ray("exec", cluster.file, f"cd ~/tritune && .venv/bin/python {words}")
    assert done.returncode == 0, done.stdout
    assert f"cluster {cluster.head.address}:6379, 3 nodes: " in done.stdout
    assert all(f"{name} (1 CPU)" in done.stdout for name in NAMES)
    assert "each trial has 1 CPU" in done.stdout

    folder = cluster.hosts.shared / "runs" / "night"
    records = Ledger.open(folder).records()
    assert [record.number for record in records] == list(range(NUM_TRIALS))
    assert {record.state for record in records} <= {"complete", "stopped"}
    assert any(record.state == "complete" and record.budget_used == FULL_BUDGET for record in records)
    first = Counter(record.reports[0]["host"] for record in records)
    assert set(first) == set(NAMES), first
    assert all(len({report["host"] for report in record.reports}) == 1 for record in records)
    assert (folder / "best" / "config.yaml").is_file()
    assert [path for path in [folder, *folder.rglob("*")] if path.stat().st_mode & 0o077] == []
    assert not list((folder.parent).glob(".tritune-nonce-*"))
    assert [len(token_files(host)) for host in cluster.hosts] == [1, 1, 1]  # once a node, not once a trial


def test_trials_stored_on_s3_need_no_folder_that_all_hosts_see(cluster: OnPrem, tmp_path: Path) -> None:
    server = S3Server(f"{cluster.head.address.rpartition('.')[0]}.1", tmp_path)
    try:
        for host in cluster.hosts:
            host.run("bash", "-c", "umask 077; mkdir -p /root/.aws; cat > /root/.aws/credentials", stdin=CREDENTIALS_FILE)
        place, environment = server.at("searches"), {"AWS_EC2_METADATA_DISABLED": "true"}
        words = search("--trials", "6", "--budget", str(FULL_BUDGET), "--out", "/root/s3/night", "--storage", place)
        done = cluster.python(*words, environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "checkpoints and models are stored in s3://tritune/searches/night-" in done.stdout

        code = "from tuner.ledger import Ledger; from pathlib import Path; "
        code += "print(*(r['host'] for record in Ledger.open(Path('/root/s3/night')).records() for r in record.reports))"
        assert set(cluster.python("-c", code).stdout.split()) == set(NAMES)
        assert cluster.python("-m", "tuner.doctor", "/root/s3/night", environment=environment).returncode == 0
        assert "config.yaml" in cluster.head.run("ls", "/root/s3/night/best").stdout
        for host in cluster.hosts:
            left = host.run("find", "/root/.cache/tritune/trials", "-type", "f").stdout
            assert left == ""
        for host in list(cluster.hosts)[1:]:
            assert "s3" not in host.run("ls", "/root").stdout.split()
    finally:
        server.end()
        cluster.head.run("rm", "-rf", "/root/s3")


def test_a_folder_that_other_hosts_do_not_see_is_refused(cluster: OnPrem) -> None:
    done = cluster.python(*search("--out", "/root/here"))
    assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
    assert "Nothing was started" in done.stderr
    for host in list(cluster.hosts)[1:]:
        assert (
            f"node {host.name} ({host.address}): the search's folder /root/here must lie on storage that all nodes see"
            in done.stderr
        )
    assert f"node {cluster.head.name}" not in done.stderr
    assert cluster.head.run("ls", "/root").stdout.split() == ["ray_bootstrap_config.yaml", "ray_bootstrap_key.pem", "tritune"]


def test_data_that_differ_on_a_host_are_refused(cluster: OnPrem) -> None:
    for host in cluster.hosts:
        host.run("cp", "-r", f"{SHARED}/data", "/root/data")
    cluster.hosts[2].run("bash", "-c", "tail -n 1 /root/data/sts-train.csv | sed 's/^/z/' >> /root/data/sts-train.csv")
    done = cluster.python(*search("--data", "/root/data", "--out", f"{SHARED}/runs/differs"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"node {cluster.hosts[2].name}" in done.stderr
    assert "sts-train.csv" in done.stderr
    assert f"node {cluster.hosts[1].name}" not in done.stderr
    assert not (cluster.hosts.shared / "runs" / "differs").exists()


def test_another_token_is_refused(cluster: OnPrem) -> None:
    cluster.head.run("bash", "-c", "umask 077; head -c 32 /dev/urandom | sha256sum | cut -c1-64 > /root/other_token")
    done = cluster.python(*search("--out", f"{SHARED}/runs/other"), environment={"RAY_AUTH_TOKEN_PATH": "/root/other_token"})
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"the cluster at {cluster.head.address}:6379 refuses the token in /root/other_token" in done.stderr
    assert not (cluster.hosts.shared / "runs" / "other").exists()


def test_more_than_a_node_has_is_refused(cluster: OnPrem) -> None:
    done = cluster.python(*search("--cpus-per-trial", "2", "--out", f"{SHARED}/runs/large"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "each trial asks for 2 CPUs, but no node of the cluster has that (3 nodes: " in done.stderr


def test_nothing_is_left_after_ray_down(cluster: OnPrem) -> None:
    """The last one."""
    done = cluster.down()
    assert done.returncode == 0, done.stdout

    def left(host: Host) -> list[str]:
        return [line for line in host.processes().values() if not line.startswith("sshd")]

    cluster.wait_for(lambda: not left(cluster.head), "the head to stop", timeout_seconds=30)
    for worker in list(cluster.hosts)[1:]:  # Ray tells them nothing: they end once their head has been gone for a minute
        cluster.wait_for(lambda: not left(worker), f"{worker.name} to stop", timeout_seconds=180)  # noqa: B023 - called at once
    done = cluster.python(*search("--out", f"{SHARED}/runs/late"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no process of a Ray cluster of yours runs on this machine" in done.stderr
    assert not Path(cluster.hosts.shared / "runs" / "late").exists()
