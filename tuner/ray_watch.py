"""What a driver's Ray cannot do without, watched from a thread: where it is gone, the search ends with words, and soon.

Ray waits a minute for a head that no longer answers, most calls into it with it, and then ends the process in its compiled part,
past everything of ours.  Without the raylet of the driver's own machine Tune goes on waiting.  Nothing is lost by an end on the
spot, for every event stands in the ledger before it is acted on.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping

from tuner.interrupts import leave

EXIT_RAY_LOST = 1
_RAYS_VARIABLE, _RAYS_SECONDS = "RAY_gcs_rpc_server_reconnect_timeout_s", 60.0
_SHARE_OF_RAYS = 0.75
_LOOK_SECONDS, _CONNECT_SECONDS = 1.0, 3.0


def patience_seconds(environment: Mapping[str, str]) -> float:
    """How long nobody may answer: three quarters of what Ray would wait for its head."""
    try:
        return _SHARE_OF_RAYS * float(environment.get(_RAYS_VARIABLE, _RAYS_SECONDS))
    except ValueError:
        return _SHARE_OF_RAYS * _RAYS_SECONDS


@contextlib.contextmanager
def watched_ray(addresses: Mapping[str, str], way_on: str) -> Iterator[None]:
    """Until its end the process ends, with exit code 1, once an address has not answered for `patience_seconds`.

    Args:
        addresses: what stands there -> its host:port.
        way_on: said then: how to go on.
    """
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(addresses, way_on, over), daemon=True, name="ray-watch")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(addresses: Mapping[str, str], way_on: str, over: threading.Event) -> None:
    patience = patience_seconds(os.environ)
    answered = dict.fromkeys(addresses, time.monotonic())
    while not over.wait(_LOOK_SECONDS):
        for name, address in addresses.items():
            if answers(address):
                answered[name] = time.monotonic()
            elif time.monotonic() - answered[name] > patience:
                lost = f"{name}, {address}, has not answered for {patience:g} s"
                leave(f"the search cannot go on: {lost}\n{way_on}", EXIT_RAY_LOST)


def answers(address: str) -> bool:
    """Whether somebody listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
