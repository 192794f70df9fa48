"""Something done beside something else."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from trainables.heartbeat import BEAT_SECONDS, beat

T = TypeVar("T")


def in_background(action: Callable[[], T]) -> "Future[T]":
    """Runs an action in a thread of its own, which nobody waits for at the process's end, as they would for an executor's.

    What the action raises is raised where its result is asked for.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(action())
        except BaseException as error:  # handed to who waits
            future.set_exception(error)

    threading.Thread(target=run, name="tritune-background", daemon=True).start()
    return future


def waited_for(future: "Future[T]") -> T:
    """What an action in the background gives; to wait for it is no silence of this trial."""
    while not future.done():
        beat()
        wait([future], timeout=BEAT_SECONDS)
    return future.result()
