"""Joining a Ray cluster that runs: the one here that is ours, looked at from end to end before anything starts.

Ray would join whatever it finds first: another user's cluster, one that lets everybody in, what is left of a dead one.  Here a
cluster is ours if a process of ours on this machine belongs to it, it takes our token, and it refuses any other.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainables.parts import ConfigError
from trainables.storage import shown
from tuner.cluster import count_gpus, guarded_by, num_slots, quiet_ray, scratch_folder
from tuner.processes import count_cpus
from tuner.search_plan import SearchPlan
from tuner.settings import SearchSettings

AUTO = "auto"
_FIND_SECONDS, _CHECK_SECONDS = 60, 900
_GCS_FLAG = "--gcs-address="


@dataclass(frozen=True)
class Node:
    """A machine of a cluster: its name for Ray, host name, address, and what trials may use of it (0 bytes: not known)."""

    id: str
    host: str
    address: str
    num_cpus: int
    num_gpus: int
    memory_bytes: int = 0


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs and is ours.

    Attributes:
        address: host:port of its head.
        token: the file that holds its token.
        nodes: those that had joined when it was looked at.
    """

    address: str
    token: Path
    nodes: tuple[Node, ...]

    def slots(self, settings: SearchSettings) -> int:
        """Trials at once: what its nodes hold; or `concurrency`, for a cluster that grows starts nodes until so many fit."""
        return settings.concurrency or sum(num_slots(settings, node.num_cpus, node.num_gpus) for node in self.nodes)

    def usable(self, settings: SearchSettings) -> list[Node]:
        """The nodes that hold at least one trial."""
        return [node for node in self.nodes if num_slots(settings, node.num_cpus, node.num_gpus) > 0]

    def __str__(self) -> str:
        nodes = ", ".join(f"{node.host} ({_resources(node.num_cpus, node.num_gpus)})" for node in self.nodes)
        return f"{'1 node' if len(self.nodes) == 1 else f'{len(self.nodes)} nodes'}: {nodes}"


def _resources(num_cpus: float, num_gpus: float, link: str = ", ") -> str:
    cpus = f"{num_cpus:g} CPU{'' if num_cpus == 1 else 's'}"
    return f"{cpus}{link}{num_gpus:g} GPU{'' if num_gpus <= 1 else 's'}" if num_gpus else cpus


def describe_trial(settings: SearchSettings) -> str:
    """What each trial has of a machine, in words."""
    sharing = math.floor(1 / settings.gpus_per_trial + 1e-9) if 0 < settings.gpus_per_trial < 1 else 1
    shared = f" ({sharing} trials a GPU)" if sharing > 1 else ""
    return f"each trial has {_resources(settings.cpus_per_trial, settings.gpus_per_trial, ' and ')}{shared}"


def find_cluster(address: str) -> Cluster:
    """The cluster of ours that this machine belongs to.

    Args:
        address: `auto`, or host:port of the head where several run here.

    Raises:
        ConfigError: none runs here, or more than one; it is not ours; it lets everybody in; its Ray or Python differs.
    """
    token = _token_file(os.environ)
    addresses = running_addresses()
    if address != AUTO:
        addresses = [address] if address in addresses else []
    if not addresses:
        what = "a Ray cluster" if address == AUTO else f"the Ray cluster at {address}"
        raise ConfigError([f"--address: no process of {what} of yours runs on this machine; `ray up` starts one (cluster.yaml)"])
    answers = {found: _ask({"kind": "find", "address": found}, token, _FIND_SECONDS) for found in addresses}
    ours = {found: answer for found, answer in answers.items() if answer["state"] == "ours"}
    if not ours:
        raise ConfigError(_why_not(found, answer["state"], token) for found, answer in answers.items())
    if len(ours) > 1:
        raise ConfigError([f"--address: one cluster of yours must run here, but got {', '.join(ours)}; say which"])
    [(found, answer)] = ours.items()
    if answer["versions"] != answer["driver"]:
        theirs, here = (f"Ray {each['ray']} and Python {each['python']}" for each in (answer["versions"], answer["driver"]))
        raise ConfigError([f"--address: the cluster at {found} must have the versions of this driver, {here}, but has {theirs}"])
    return Cluster(found, token, tuple(Node(**node) for node in answer["nodes"]))


def slots_of(settings: SearchSettings, cluster: Cluster | None) -> int:
    """Trials at once, on a cluster or on this machine alone.

    Raises:
        ConfigError: not even one fits on this machine.
    """
    if cluster is not None:
        return cluster.slots(settings)
    cpus, gpus = count_cpus(), count_gpus()
    slots = num_slots(settings, cpus, gpus)
    if slots == 0:
        raise ConfigError(
            [
                f"each trial asks for {settings.cpus_per_trial} CPU(s) and {settings.gpus_per_trial:g} GPU(s), "
                f"but this machine has {cpus} CPUs and {gpus} GPUs; see --cpus-per-trial, --gpus-per-trial"
            ]
        )
    return slots


def _why_not(address: str, state: str, token: Path) -> str:
    why = {
        "foreign": f"refuses the token in {token}: it is not yours, or its token was changed",
        "silent": "does not answer: what is left of it still runs here; `ray stop` ends that",
        "open": "takes any token, so that everybody can run anything there; start it with RAY_AUTH_MODE=token (cluster.yaml)",
    }
    return f"--address: the cluster at {address} {why[state]}"


def _token_file(environment: Mapping[str, str]) -> Path:
    """The file with our token.

    Raises:
        ConfigError: it is not there, is empty, or others can read it.
    """
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    how = f"--address: the cluster's token must stand in {path} (RAY_AUTH_TOKEN_PATH names another file)"
    try:
        mode, text = path.stat().st_mode & 0o777, path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{how}, but it cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"]) from None
    if not text:
        raise ConfigError([f"{how}, but it is empty"])
    if mode & 0o077:
        raise ConfigError([f"{how}, readable by you alone, but its mode is {mode:o}; chmod 600 {path}"])
    return path.resolve()


def running_addresses(processes: Path = Path("/proc")) -> list[str]:
    """Heads (host:port) of the clusters that processes of this user on this machine belong to.

    Not those that a file names that Ray once wrote, which may be dead, nor those of other users, who would be shown our token.
    """
    found = set()
    for folder in processes.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                found.update(_gcs_addresses((folder / "cmdline").read_bytes().decode(errors="replace").split("\0")))
    return sorted(found)


def _gcs_addresses(command: Iterable[str]) -> list[str]:
    program, *arguments = [*command] or [""]
    return (
        [word.removeprefix(_GCS_FLAG) for word in arguments if word.startswith(_GCS_FLAG)] if program.endswith("/raylet") else []
    )


def check_nodes(cluster: Cluster, folder: Path, plan: SearchPlan) -> None:
    """Looks at each node that may hold a trial, from that node: code, the search's folder, data, encoder.

    Raises:
        ConfigError: everything that is wrong, by node; or no trial fits.
    """
    settings = plan.settings
    if cluster.slots(settings) == 0:
        needs = describe_trial(settings).replace("each trial has", "each trial asks for")
        options = "see --cpus-per-trial, --gpus-per-trial, or give --concurrency N where the cluster grows"
        raise ConfigError([f"{needs}, but no node of the cluster has that ({cluster}); {options}"])
    question = {
        "kind": "check_nodes",
        "address": cluster.address,
        "nodes": [asdict(node) for node in cluster.usable(settings)],
        **_place_to_look_at(folder, plan),
        "config": plan.base.to_tree(),
        "data_hashes": plan.data_hashes,
        "encoder_sha256": plan.encoder_sha256,
        "timeout_seconds": _CHECK_SECONDS - 60,
    }
    problems = _ask(question, cluster.token, _CHECK_SECONDS)["problems"] if question["nodes"] else []
    if problems:
        raise ConfigError(problems)


def _place_to_look_at(folder: Path, plan: SearchPlan) -> dict[str, str]:
    """Where workers write: the storage; or the search's folder, of which the nearest one above it that is there is looked at."""
    if plan.settings.storage is not None:
        return {"place": plan.settings.storage, "what": f"--storage {shown(plan.settings.storage)}"}
    folder = folder.resolve()
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    return {"place": there.as_uri(), "what": f"the search's folder {folder}"}


def _ask(question: Mapping[str, Any], token: Path, timeout_seconds: float) -> dict[str, Any]:
    """What a process of its own finds out; see `tuner.cluster_probe`."""
    environment = {**os.environ, **guarded_by(token), "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_AUTH_TOKEN", None)
    command = [sys.executable, "-m", "tuner.cluster_probe"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(question),
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout_seconds,
            check=True,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        if question["kind"] == "find":
            return {"state": "silent"}
        errors = [line for line in (getattr(error, "stderr", None) or "").splitlines() if line.strip()] or [str(error)]
        raise ConfigError(
            [f"--address: the cluster at {question['address']} could not be looked at: {errors[-1][:300]}"]
        ) from None
    return answer


@contextlib.contextmanager
def joined_ray(cluster: Cluster, cleanup_seconds: int) -> Iterator[Path]:
    """Ray as a driver of a cluster that goes on without us.

    Args:
        cluster: looked at.
        cleanup_seconds: see `quiet_ray`.

    Yields:
        A scratch folder on this machine: what Tune writes there is never read back, and no node needs it.
    """
    with scratch_folder() as scratch, quiet_ray(guarded_by(cluster.token), cleanup_seconds):
        import ray

        try:
            ray.init(address=cluster.address, log_to_driver=False, logging_level="error", configure_logging=True)
            yield scratch
        finally:
            ray.shutdown()
