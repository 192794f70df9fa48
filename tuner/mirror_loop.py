"""The loop of a mirror that follows a search: read the ledger, send, wait; once the search is over, come to an end."""

import logging
import os
import threading
import time
from collections.abc import Callable

from tuner.ledger import first_line
from tuner.processes import is_alive

_LONGEST_PAUSE_SECONDS = 30.0
_log = logging.getLogger("tritune.mirror")


class Follower:
    """Sends what a search has come to, again and again, until the search is over and all was sent.

    Args:
        send_once: reads the ledger and sends what is missing; raises where it could not.
        is_over: whether the search is; once true, it stays so.
    """

    def __init__(self, send_once: Callable[[], None], is_over: Callable[[], bool]) -> None:
        self._send_once, self._is_over = send_once, is_over

    def run(self, give_up_seconds: float, poll_seconds: float) -> bool:
        """Goes on to the end of the search.

        While sending fails the pauses grow, up to 30 s.

        Args:
            give_up_seconds: how long sending may have failed without a break once the search is over.
            poll_seconds: the pause after a success, and after every try once the search is over.

        Returns:
            True when all was sent, False when it gave up.
        """
        failing_since: float | None = None
        pause = poll_seconds
        while True:
            over = self._over()  # asked before reading: what was written until then is read
            if self._send():
                if over:
                    return True
                failing_since, pause = None, poll_seconds
            else:
                failing_since = failing_since or time.monotonic()
                if over and time.monotonic() - failing_since >= give_up_seconds:
                    return False
                pause = poll_seconds if over else min(2 * pause, _LONGEST_PAUSE_SECONDS)
            self._wait(pause, over)

    def _send(self) -> bool:
        try:
            self._send_once()
        except Exception as error:  # whatever it was: the search goes on, and the mirror with it
            _log.warning("not sent, will try again: %s", first_line(error))
            return False
        return True

    def _over(self) -> bool:
        try:
            return self._is_over()
        except Exception:  # a ledger that cannot be read now may be in a moment
            return False

    def _wait(self, seconds: float, over: bool) -> None:
        """Waits, but no longer than until the search is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._over() == over:
            time.sleep(min(0.5, seconds))


def watch_parent(parent_pid: int, grace_seconds: float) -> Callable[[], bool]:
    """Says whether the parent is gone; a mirror that hangs in MLflow after that ends `grace_seconds` later, whatever it does."""
    is_child = os.getppid() == parent_pid

    def gone() -> bool:
        return os.getppid() != parent_pid if is_child else not is_alive(parent_pid)

    def guard() -> None:
        while not gone():
            time.sleep(1)
        time.sleep(grace_seconds)
        os._exit(1)

    threading.Thread(target=guard, daemon=True).start()
    return gone
