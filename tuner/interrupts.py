"""Ctrl-C and its kin, heard where nothing breaks.

A handler that raises does so between any two instructions.  Inside Ray's start, its callbacks and its compiled parts the
exception is swallowed, and the search runs on, or leaves a process that dies of a segmentation fault at its end.  So while Ray is
at work a signal is only noted, and looked for between two steps of Tune, ten times a second.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR = b"\x1b[?25h"


class Interrupts:
    """What somebody who wants the search to stop has sent: SIGINT, SIGTERM or SIGHUP.

    The first raises KeyboardInterrupt, at once or, within `noted()`, where `check()` is called next.  The second ends the process
    on the spot: every event stands in the ledger before it is acted on, Ray's processes go with their driver.  A thread sees to
    that, for Python calls no handler while the main thread waits in compiled code, as Ray's start and end do for seconds.

    Args:
        first_words: what is said at once of a first one that is only noted, unless a terminal shows a display of its own.
        last_words: what the second one prints before it ends the process.

    Attributes:
        requested: whether one has come.
    """

    def __init__(self, last_words: str, first_words: str = "") -> None:
        self._first_words, self._last_words = first_words, last_words
        self._is_only_noted = self._has_raised = False
        self._wanted: list[signal.Signals] = []
        self.requested = False

    @contextmanager
    def heard(self) -> Iterator["Interrupts"]:
        """Hears them until its end; then whoever did before does again.  A signal that was ignored (`nohup`) stays so."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        self._wanted = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
        numbers, told = os.pipe()
        os.set_blocking(told, False)
        watch = threading.Thread(target=self._watch, args=(numbers,), daemon=True)
        watch.start()
        told_before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        self.listen()
        try:
            yield self
        finally:
            for number in self._wanted:
                signal.signal(number, before[number])
            signal.set_wakeup_fd(told_before)
            os.close(told)
            watch.join()
            os.close(numbers)

    def listen(self) -> None:
        """Hears them again, after a library (Ray, when it starts) has put in a handler of its own."""
        for number in self._wanted:
            signal.signal(number, self._hear)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Until its end the first one is only noted."""
        before, self._is_only_noted = self._is_only_noted, True
        try:
            yield
        finally:
            self._is_only_noted = before

    def check(self) -> None:
        """Raises what was noted.

        Raises:
            KeyboardInterrupt: somebody wants to stop.
        """
        if self.requested:
            raise KeyboardInterrupt

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not (self._is_only_noted or self._has_raised):
            self._has_raised = True
            raise KeyboardInterrupt

    def _watch(self, numbers: int) -> None:
        """Reads the number of each signal as it arrives, whoever handles it; ends when nobody writes any more."""
        num_seen = 0
        while byte := os.read(numbers, 1):
            if byte[0] in self._wanted:
                num_seen += 1
                self.requested = True
                if num_seen > 1:
                    leave(self._last_words, EXIT_INTERRUPTED)
                elif self._is_only_noted and self._first_words and not sys.stdout.isatty():
                    os.write(sys.stderr.fileno(), f"{self._first_words}\n".encode())


def leave_when_told(last_words: str) -> None:
    """Has each of them end the process on the spot, as long as nothing has begun that would have to be ended.

    Raised as KeyboardInterrupt it would be lost where libraries are being imported, some of which catch whatever is raised.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: leave(last_words, EXIT_INTERRUPTED))


def leave(last_words: str, code: int) -> NoReturn:
    """Ends the process on the spot; writes past Python's files, for what was interrupted may hold their locks."""
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), _SHOW_CURSOR)
    os.write(sys.stderr.fileno(), f"{last_words}\n".encode())
    os._exit(code)
