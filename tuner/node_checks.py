"""What a node of a cluster must have before trials run on it, looked at on that node: the same code, folder, data and encoder."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import trainables
from trainables.config import TrialConfig
from trainables.inputs import check_unchanged, open_inputs
from trainables.secrecy import keep_files_private
from trainables.storage import Storage, StorageError


@cache
def code_sha256() -> str:
    """The sha256 over names and contents of all that a trial runs: equal on two machines where the code is."""
    root, digest = Path(trainables.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def look_from_here(order: Mapping[str, Any]) -> list[str]:
    """Why no trial of a search can run on this node; empty where all can.

    What it opens stays in this node's cache: tokens are made once a node, before the first trial.

    Args:
        order: `code_sha256` of the driver; `place`, the address where the search's folder or its storage is, and `what` of them
            it is, in words; `nonce_file`, which the driver has written there, with `nonce` in it; `answer_file` to be written
            beside it; `config`, a `TrialConfig` as plain values, and the `data_hashes` and `encoder_sha256` that its files must
            have.
    """
    keep_files_private()
    problems = []
    if order["code_sha256"] != code_sha256():
        problems.append("the code of its trials differs from the driver's; install the same version on all nodes (`ray up` does)")
    problems += _look_at_storage(order)
    try:
        inputs = open_inputs(TrialConfig.parse(order["config"]))
        check_unchanged(inputs, data_hashes=order["data_hashes"], encoder_sha256=order["encoder_sha256"])
    except (ValueError, OSError) as error:
        problems += getattr(error, "problems", [str(error)])
    return problems


def _look_at_storage(order: Mapping[str, Any]) -> list[str]:
    """Whether this node and the driver see the same place, and both can write there."""
    what, place = order["what"], Storage(order["place"])
    try:
        seen = place.read(order["nonce_file"])
        if seen is None:
            return [f"{what} must lie on storage that all nodes see, but what the driver writes there is not seen"]
        if seen.decode(errors="replace") != order["nonce"]:
            return [f"{what} must lie on storage that all nodes see, but another one stands there"]
        place.write(order["answer_file"], order["nonce"].encode())
    except StorageError as error:
        return [f"{what} must be readable and writable from all nodes, but is not: {error.strerror}"]
    return []
