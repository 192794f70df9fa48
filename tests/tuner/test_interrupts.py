import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tuner.interrupts import EXIT_INTERRUPTED, Interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    before = [signal.getsignal(number) for number in SIGNALS]
    yield Interrupts("last words")
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts(interrupts: Interrupts, number: int) -> None:
    with pytest.raises(KeyboardInterrupt), interrupts.heard():
        os.kill(os.getpid(), number)
    assert interrupts.requested


@pytest.mark.parametrize("number", SIGNALS)
def test_a_noted_signal_interrupts_where_it_is_looked_for(interrupts: Interrupts, number: int) -> None:
    with interrupts.heard():
        with interrupts.noted():
            interrupts.check()
            os.kill(os.getpid(), number)
        assert interrupts.requested
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_a_signal_that_was_ignored_stays_so(interrupts: Interrupts) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interrupts.heard():
        os.kill(os.getpid(), signal.SIGHUP)
        interrupts.listen()
        os.kill(os.getpid(), signal.SIGHUP)
    assert not interrupts.requested
    signal.signal(signal.SIGHUP, before)


def test_it_hears_again_after_somebody_else_put_in_a_handler(interrupts: Interrupts) -> None:
    with interrupts.heard(), interrupts.noted():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        interrupts.listen()
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupts.requested


@pytest.mark.parametrize("number", SIGNALS)
def test_before_anything_has_begun_a_signal_ends_the_process_whoever_would_catch_it(number: int) -> None:
    code = """
import os, sys, time
from tuner.interrupts import leave_when_told
leave_when_told("nothing was begun")
try:  # as some libraries do while they are imported
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(60)
except BaseException:
    pass
print("goes on")
"""
    done = subprocess.run([sys.executable, "-c", code, str(int(number))], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_INTERRUPTED, "", "nothing was begun\n")


def test_the_second_signal_ends_the_process_whatever_it_is_at() -> None:
    code = """
import os, signal, threading, time
from tuner.interrupts import Interrupts
with Interrupts("last words", "first words").heard() as interrupts, interrupts.noted():
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_INTERRUPTED, "still here\n", "first words\nlast words\n")
