"""A process of its own that asks a Ray cluster something: Ray's threads, handlers and waits end with it.

`python -m tuner.cluster_probe` reads a question as JSON from stdin and writes the answer as JSON to stdout.  It is
`tuner.cluster_join` that asks; the token is given by RAY_AUTH_TOKEN_PATH.
"""

import contextlib
import json
import os
import platform
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray._raylet import AuthenticationTokenLoader, GcsClient  # type: ignore[attr-defined]  # compiled
from ray.exceptions import AuthenticationError, GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.plain_files import parse_json
from trainables.storage import Storage
from tuner.node_checks import code_sha256, look_from_here

_CONNECT_SECONDS, _ANSWER_SECONDS = 3, 10
_ALIVE = 0
_METADATA_KEY, _METADATA_NAMESPACE = b"CLUSTER_METADATA", b"cluster"


def find(question: Mapping[str, Any]) -> dict[str, Any]:
    """What stands at an address.

    Args:
        question: `address`, as host:port.

    Returns:
        `state`: `ours`, `silent` (nobody answers), `foreign` (it refuses our token) or `open` (it takes any token); of ours also
        `versions`, of Ray and Python, `nodes` and `driver`, which say of each what it is and has.
    """
    host, _, port = question["address"].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        client = GcsClient(address=question["address"])
        metadata = json.loads(client.internal_kv_get(_METADATA_KEY, _METADATA_NAMESPACE, timeout=_ANSWER_SECONDS))
        nodes = [_describe(node) for node in client.get_all_node_info(timeout=_ANSWER_SECONDS).values() if node.state == _ALIVE]
    except AuthenticationError:
        return {"state": "foreign"}
    except (RayError, OSError, TypeError):  # the last: it has not said yet what it is
        return {"state": "silent"}
    if _takes_any_token(question["address"]):
        return {"state": "open"}
    driver = {"ray": ray.__version__, "python": platform.python_version()}
    versions = {"ray": metadata["ray_version"], "python": metadata["python_version"]}
    return {"state": "ours", "versions": versions, "driver": driver, "nodes": nodes}


def _describe(node: Any) -> dict[str, Any]:
    return {
        "id": node.node_id.hex(),
        "host": node.node_manager_hostname,
        "address": node.node_manager_address,
        "num_cpus": int(node.resources_total.get("CPU", 0)),
        "num_gpus": int(node.resources_total.get("GPU", 0)),
        "memory_bytes": int(sum(node.resources_total.get(part, 0) for part in ("memory", "object_store_memory"))),
    }


def _takes_any_token(address: str) -> bool:
    """Whether a token that cannot be the right one opens the cluster: then everybody is in."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as wrong:
        wrong.write(secrets.token_hex(32))
        wrong.flush()
        before = os.environ["RAY_AUTH_TOKEN_PATH"]
        os.environ["RAY_AUTH_TOKEN_PATH"] = wrong.name
        AuthenticationTokenLoader.instance().reset_cache()
        try:
            GcsClient(address=address).internal_kv_get(_METADATA_KEY, _METADATA_NAMESPACE, timeout=_ANSWER_SECONDS)
        except AuthenticationError:
            return False
        finally:
            os.environ["RAY_AUTH_TOKEN_PATH"] = before
            AuthenticationTokenLoader.instance().reset_cache()
    return True


def check_nodes(question: Mapping[str, Any]) -> dict[str, Any]:
    """Looks at each node from a task on it.

    Args:
        question: `address`; `nodes`, as `find` describes them; `place`, `what`, `config`, `data_hashes`, `encoder_sha256` for
            `look_from_here`; `timeout_seconds`.

    Returns:
        `problems`: sentences, each with its node.
    """
    ray.init(address=question["address"], log_to_driver=False, logging_level="error")
    with _nonce_in(Storage(question["place"])) as (nonce_file, nonce):
        order = {**{key: question[key] for key in ("place", "what", "config", "data_hashes", "encoder_sha256")}, "nonce": nonce}
        order |= {"nonce_file": nonce_file, "code_sha256": code_sha256()}
        answers = {node["id"]: (node, f"{nonce_file}.{number}") for number, node in enumerate(question["nodes"])}
        look = ray.remote(num_cpus=0, max_retries=0)(look_from_here)
        asked = {
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(
                {**order, "answer_file": answer}
            ): node
            for node_id, (node, answer) in answers.items()
        }
        ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=question["timeout_seconds"])
        found = {asked[task]["id"]: _outcome(task) if task in ready else ["it does not answer"] for task in asked}
        place = Storage(question["place"])
        for node_id, (_, answer) in answers.items():
            if not found[node_id] and place.read(answer) is None:
                found[node_id] = [f"{question['what']} does not show the driver what this node writes there"]
            place.delete(answer)
    return {
        "problems": [
            f"node {node['host']} ({node['address']}): {line}" for id_, (node, _) in answers.items() for line in found[id_]
        ]
    }


def _outcome(task: Any) -> list[str]:
    try:
        return list(ray.get(task, timeout=_ANSWER_SECONDS))
    except (RayError, GetTimeoutError, ImportError) as error:
        cause = getattr(error, "cause", None) or error
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        last = lines[-1] if lines else type(cause).__name__
        return [f"tritune cannot be run there: {last[:300]}"]


@contextlib.contextmanager
def _nonce_in(place: Storage) -> Iterator[tuple[str, str]]:
    """The name of a file in a place, with something in it that only this driver knows."""
    nonce, name = secrets.token_hex(16), f".tritune-nonce-{secrets.token_hex(8)}"
    place.write(name, nonce.encode())
    try:
        yield name, nonce
    finally:
        place.delete(name)


QUESTIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"find": find, "check_nodes": check_nodes}


def main() -> None:
    """Answers the question on stdin.  It leaves without Python's own end, which Ray's threads may disturb."""
    question = parse_json(sys.stdin.read())
    answer = QUESTIONS[question["kind"]](question)
    if ray.is_initialized():
        ray.shutdown()
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
