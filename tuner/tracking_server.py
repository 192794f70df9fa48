"""How MLflow is shown: a server on this machine's loopback that answers to its own address alone.

MLflow's own defaults admit any private address as host and any port of localhost as origin, run jobs and read pickles.  A page in
a browser of this machine could then reach it (DNS rebinding, cross-site requests).
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tuner.settings import sqlite_url

HOST = "127.0.0.1"
DEFAULT_PORT = 5000
CLOSED = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""What the environment of a server says, whatever it said before."""
_OVERRIDES = ("MLFLOW_SERVER_", "MLFLOW_ALLOW_", "_MLFLOW_")
"""Beginnings of variables that could open it again."""


def server_command(store_uri: str, artifacts: Path, port: int) -> list[str]:
    """The command that serves a store.

    Args:
        store_uri: of the database.
        artifacts: folder of artifacts of experiments that are made through the server; ours name their own.
        port: to listen on.
    """
    addresses = [f"{name}:{port}" for name in (HOST, "localhost")]
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", store_uri, "--default-artifact-root", artifacts.as_uri(), "--no-serve-artifacts"),
        *("--allowed-hosts", ",".join(addresses)),
        *("--cors-allowed-origins", ",".join(f"http://{address}" for address in addresses)),
        *("--x-frame-options", "DENY"),
    ]


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the server: what could open it is taken out, what closes it stands."""
    return {name: value for name, value in environment.items() if not name.startswith(_OVERRIDES)} | CLOSED


def store_in(folder: Path) -> str | None:
    """The store of all searches in a folder such as `runs`; None where there is none."""
    file = folder.resolve() / "mlflow.db"
    return sqlite_url(file) if file.is_file() else None


def become_server(store_uri: str, artifacts: Path, port: int) -> None:
    """Turns this process into the server, so that Ctrl-C and its exit code are the server's own."""
    command = server_command(store_uri, artifacts, port)
    os.execve(command[0], command, server_environment(os.environ))
