"""The head of a Ray cluster, watched from a thread of the driver: where it is gone, the search ends with words, and soon.

Ray waits a minute for a head that no longer answers, most calls into it with it, and then ends the process in its compiled part,
past everything of ours.  Nothing is lost by that, for every event stands in the ledger before it is acted on; but nobody would be
told how to go on.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping

from tuner.interrupts import leave

EXIT_HEAD_LOST = 1
_RAYS_VARIABLE, _RAYS_SECONDS = "RAY_gcs_rpc_server_reconnect_timeout_s", 60.0
_SHARE_OF_RAYS = 0.75
_LOOK_SECONDS, _CONNECT_SECONDS = 1.0, 3.0


def patience_seconds(environment: Mapping[str, str]) -> float:
    """How long a head may be silent: three quarters of what Ray would wait for it."""
    try:
        return _SHARE_OF_RAYS * float(environment.get(_RAYS_VARIABLE, _RAYS_SECONDS))
    except ValueError:
        return _SHARE_OF_RAYS * _RAYS_SECONDS


@contextlib.contextmanager
def watched_head(address: str, way_on: str) -> Iterator[None]:
    """Until its end the process ends, with exit code 1, once the head has not answered for `patience_seconds`.

    Args:
        address: host:port of the head.
        way_on: said then: how to go on.
    """
    over, patience = threading.Event(), patience_seconds(os.environ)
    words = f"the search cannot go on: the head of the Ray cluster, {address}, has not answered for {patience:g} s\n{way_on}"
    thread = threading.Thread(target=_watch, args=(address, patience, words, over), daemon=True, name="head")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(address: str, patience: float, words: str, over: threading.Event) -> None:
    answered = time.monotonic()
    while not over.wait(_LOOK_SECONDS):
        if answers(address):
            answered = time.monotonic()
        elif time.monotonic() - answered > patience:
            leave(words, EXIT_HEAD_LOST)


def answers(address: str) -> bool:
    """Whether somebody listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
