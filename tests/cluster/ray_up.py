"""The shipped `cluster.onprem.yaml` for hosts made of namespaces, and Ray's own commands on it."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import Host, Hosts

ROOT = Path(__file__).resolve().parents[2]
Done = subprocess.CompletedProcess[str]


def fit_to(hosts: Hosts, folder: Path) -> Path:
    """Writes the shipped file with these hosts' addresses and key, and a new token, and gives its path.

    What else is changed: packages come from this environment instead of the network, which the hosts do not have; a host offers
    one CPU, and little memory for objects, of the few that this machine has for all of them.
    """
    tree: dict[str, Any] = yaml.safe_load((ROOT / "cluster.onprem.yaml").read_text(encoding="utf-8"))
    head, *workers = [host.address for host in hosts]
    tree["cluster_name"] = f"tritune-test-{os.getpid()}"
    tree["provider"] |= {"head_ip": head, "worker_ips": workers}
    tree["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
    token = folder / "auth_token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    tree["file_mounts"]["~/.ray/auth_token"] = str(token)
    tree["setup_commands"] = [
        tree["setup_commands"][0],
        f"ln -sfn {sys.prefix} ~/tritune/.venv",
        "echo 'export PYTHONPATH=~/tritune' >> ~/.bashrc",
        tree["setup_commands"][-1],
    ]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        tree[key][1] = tree[key][1].replace("ray start", "ray start --num-cpus=1 --object-store-memory=100000000")
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


@dataclass
class OnPrem:
    """A cluster on hosts, driven from this machine as its user would."""

    hosts: Hosts
    file: Path

    @property
    def head(self) -> Host:
        """The host that the search is started on."""
        return self.hosts[0]

    def ray(self, *words: str | Path, timeout_seconds: float = 240) -> Done:
        """`ray up FILE`, `ray exec FILE COMMAND`, ...: with its output in one."""
        home = {"HOME": str(self.file.parent), "RAY_TMPDIR": str(self.file.parent), "RAY_USAGE_STATS_ENABLED": "0"}
        return subprocess.run(
            [f"{sys.prefix}/bin/ray", *map(str, words)],
            cwd=ROOT,
            env={**os.environ, **home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def up(self) -> None:
        """Starts Ray on all hosts, and waits until they have joined."""
        done = self.ray("up", self.file, "--yes", "--no-config-cache")
        assert done.returncode == 0, done.stdout
        self.wait_for(lambda: len(self.nodes()) == len(self.hosts), "all hosts to join")

    def down(self) -> Done:
        """Stops Ray on all hosts."""
        return self.ray("down", self.file, "--yes")

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that have joined, as a driver on the head finds them."""
        code = "import json; from dataclasses import asdict; from tuner.cluster_join import find_cluster; "
        code += "print(json.dumps([asdict(node) for node in find_cluster('auto').nodes]))"
        done = self.python("-c", code)
        return list(json.loads(done.stdout)) if done.returncode == 0 else []

    def python(self, *words: str, host: Host | None = None, environment: Mapping[str, str] | None = None) -> Done:
        """A Python command in the project's folder of a host, the head by default, as somebody who is logged in there has it."""
        return (host or self.head).run(*_in_the_project(environment), ".venv/bin/python", *words, check=False)

    def start_python(self, *words: str, log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """The same on the head, begun; what it prints is added to `log`."""
        return self.head.start(*_in_the_project(environment), ".venv/bin/python", *words, log=log)

    def wait_for(self, is_so: Callable[[], bool], what: str, timeout_seconds: float = 120) -> None:
        """Waits for something of the cluster."""
        until = time.monotonic() + timeout_seconds
        while not is_so():
            assert time.monotonic() < until, f"waited {timeout_seconds} s for {what}"
            time.sleep(0.5)


def _in_the_project(environment: Mapping[str, str] | None) -> list[str]:
    """The words before a command in the project's folder of a host."""
    variables = [f"{key}={value}" for key, value in (environment or {}).items()]
    return ["bash", "-c", 'cd ~/tritune && export PYTHONPATH=~/tritune && exec env "$@"', "in", *variables]
