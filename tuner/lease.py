"""Who may write a ledger: one driver at a time, on whatever machine, by a lease that stands in the ledger itself.

The holder renews it; whoever finds it lapsed, or its holder's process gone from this very machine, takes it.  Each event is
written in a transaction that looks whether the lease is still its writer's: a driver that was frozen for longer than its lease
and wakes up when another has taken over writes nothing any more.

Source: Gray & Cheriton 1989, "Leases: an efficient fault-tolerant mechanism for distributed file cache consistency".
"""

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from optuna.storages._rdb import models

from trainables.heartbeat import process_start
from trainables.machine import this_machine
from trainables.parts import ConfigError
from tuner.processes import is_alive, user_name
from tuner.study_tables import read_study_attribute, transaction, write_study_attribute

LEASE_SECONDS = 60.0
_RENEWALS_A_LEASE = 4
_LOCK_SECONDS = 5
"""How long a driver waits for another one's event."""
_LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's code for that."""
_STANDS_STILL = "it stands still in the middle of an event; it must end, or the database ends that event: try again in a minute"
_KEY = "tritune:lease"
_STUDIES = models.StudyModel.__table__


class LeaseHeldError(ConfigError):
    """Another driver holds the lease; the message names it."""


class LeaseLostError(RuntimeError):
    """Another driver has taken the lease: nothing may be written any more."""


@dataclass(frozen=True)
class Holder:
    """A process that writes a ledger.

    Attributes:
        token: of this holding, drawn at random.
        name: for people: `user@host`.
        place: where `pid` means something: a machine since its start, and a namespace of its processes; empty: not known.
        pid: its process.
        started: when that process began, as its system counts; empty: not known.
    """

    token: str
    name: str
    place: str
    pid: int
    started: str

    @classmethod
    def this_process(cls) -> "Holder":
        """This one, with a new token."""
        pid = os.getpid()
        return cls(secrets.token_hex(16), f"{user_name()}@{socket.gethostname()}", this_machine(), pid, process_start(pid))

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended: only of a process of this place can that be told."""
        return self._is_of_this_place and (not is_alive(self.pid) or process_start(self.pid) != self.started)

    @property
    def has_left_this_host(self) -> bool:
        """The same, where whoever works on this host holds a lock that is ours by now.

        So of a process in a container that was begun anew, or from before this machine was.
        """
        return self.is_gone or (self._is_of_this_host and not self._is_of_this_place)

    @property
    def _is_of_this_place(self) -> bool:
        return bool(self.place) and self.place == this_machine()

    @property
    def _is_of_this_host(self) -> bool:
        """By its name, or, where that is a container's, by the start of its machine."""
        same_start = bool(self.place) and self.place.split()[:1] == this_machine().split()[:1]
        return same_start or self.name.rpartition("@")[2] == socket.gethostname()

    def __str__(self) -> str:
        return f"{self.name}, process {self.pid}"


class Lease:
    """A lease that is held.

    Args:
        engine: of the store.
        study_id: of the ledger's study.
        seconds: how long it lasts without being renewed.
        folder_is_ours: this process holds the lock of the search's folder: where the ledger is a file in it, no other process of
            this host can be at work.

    Raises:
        LeaseHeldError: another driver holds it.
    """

    def __init__(self, engine: sa.Engine, study_id: int, seconds: float = LEASE_SECONDS, *, folder_is_ours: bool = False) -> None:
        self._engine, self._study_id, self._seconds = engine, study_id, seconds
        self._is_alone_here = folder_is_ours and engine.dialect.name == "sqlite"
        self.holder = Holder.this_process()
        try:
            holder, left = self._ask()
        except sa.exc.OperationalError as error:
            if not _is_locked_out(error):
                raise
            raise LeaseHeldError([self._words_for(_STANDS_STILL)]) from None
        if holder != self.holder:
            raise LeaseHeldError([self._words_for(f"it must end, or its lease must lapse, at the earliest in {left:.0f} s")])

    def _ask(self) -> tuple[Holder, float]:
        """Takes it, if nobody else holds it; who holds it now, and for how many seconds at least.

        No lease lasts longer than `seconds`.  One that seems to was written before a clock was set back: it is cut to that
        length, and its holder, if there still is one, renews it.
        """
        with self._in_turn() as connection:
            other, left = _read(connection, self._study_id)
            if other is None or left <= 0 or self._is_gone(other):
                _write(connection, self._study_id, self.holder, self._seconds)
                return self.holder, self._seconds
            if left > self._seconds:
                _write(connection, self._study_id, other, self._seconds)
            return other, min(left, self._seconds)

    def _is_gone(self, other: Holder) -> bool:
        return other.has_left_this_host if self._is_alone_here else other.is_gone

    def _words_for(self, what_to_do: str) -> str:
        with self._engine.connect() as connection:
            other, _ = _read(connection, self._study_id)
        return f"another driver is at work on this search: {other}; {what_to_do}"

    def check(self, connection: sa.Connection) -> None:
        """Looks, within a transaction, whether it is still held; until that ends nobody else can take it.

        Raises:
            LeaseLostError: it is not.
        """
        stored = read_study_attribute(connection, self._study_id, "system", _KEY, keep=True)
        if stored["holder"]["token"] != self.holder.token:
            raise LeaseLostError(f"another driver has taken over this search: {Holder(**stored['holder'])}")

    def renew(self) -> None:
        """Holds it for another `seconds`.

        Raises:
            LeaseLostError: another driver has it.
        """
        with self._in_turn() as connection:
            self.check(connection)
            _write(connection, self._study_id, self.holder, self._seconds)

    def release(self) -> None:
        """Gives it back, if it is still held."""
        with contextlib.suppress(LeaseLostError), self._in_turn() as connection:
            self.check(connection)
            _write(connection, self._study_id, self.holder, 0)

    @contextlib.contextmanager
    def renewed(self) -> Iterator["Lease"]:
        """Renews it from a thread until the end, then releases it.

        Where the store cannot be reached it is tried again: as long as nobody else has taken the lease, it is still held.
        """
        over = threading.Event()
        thread = threading.Thread(target=self._renew_until, args=(over,), daemon=True, name="lease")
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self.release()

    def _renew_until(self, over: threading.Event) -> None:
        while not over.wait(self._seconds / _RENEWALS_A_LEASE):
            try:
                self.renew()
            except LeaseLostError:
                return  # the next event finds out
            except sa.exc.SQLAlchemyError:
                continue

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[sa.Connection]:
        """A transaction that no other of its kind overlaps: it begins with a write, for which every store makes others wait.

        Not for ever: whoever stands still in the middle of an event is told.
        """
        with transaction(self._engine) as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
            same = sa.update(_STUDIES).where(_STUDIES.c.study_id == self._study_id).values(study_name=_STUDIES.c.study_name)
            connection.execute(same)
            yield connection


def holder_of(connection: sa.Connection, study_id: int) -> Holder | None:
    """Who holds the lease of a study; None where nobody does."""
    holder, left = _read(connection, study_id)
    return holder if holder is not None and 0 < left <= LEASE_SECONDS and not holder.is_gone else None


def _read(connection: sa.Connection, study_id: int) -> tuple[Holder | None, float]:
    """The last holder, and seconds until its lease lapses by the store's clock."""
    stored = read_study_attribute(connection, study_id, "system", _KEY)
    return (Holder(**stored["holder"]), stored["until"] - _now(connection)) if stored else (None, 0.0)


def _write(connection: sa.Connection, study_id: int, holder: Holder, seconds: float) -> None:
    value = {"holder": asdict(holder), "until": _now(connection) + seconds}
    write_study_attribute(connection, study_id, "system", _KEY, value)


def _now(connection: sa.Connection) -> float:
    """Seconds by the clock that all drivers share: the database's, or for a file this machine's."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))).scalar_one())


def _is_locked_out(error: sa.exc.OperationalError) -> bool:
    """Whether a store says that somebody else keeps it locked."""
    is_busy = str(getattr(error.orig, "sqlite_errorname", "")).startswith("SQLITE_BUSY")
    return is_busy or getattr(error.orig, "sqlstate", "") == _LOCK_NOT_AVAILABLE
