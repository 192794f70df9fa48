"""When drivers were at work on a search: its wall clock is the sum of these stretches."""

import contextlib
import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tuner.ledger import Ledger
from tuner.records import TrialRecord

DRIVERS = "drivers"
"""The header's entry: start and end of each driver, ISO 8601 with its zone; the end is null while it works, or if killed."""


@contextlib.contextmanager
def noted(ledger: Ledger) -> Iterator[Callable[[], None]]:
    """Notes in the ledger's header when this driver begins and when it ends, however that is, unless it is killed.

    Yields:
        A function that notes that it is at work still: until it ends, the stretch then ends with the last call.
    """
    before, started = list(ledger.header.get(DRIVERS, [])), _now()
    ledger.set_header(DRIVERS, [*before, [started, None]])

    def extend() -> None:
        with contextlib.suppress(Exception):  # a full disk, a lease that another driver has: what ended it is told elsewhere
            ledger.set_header(DRIVERS, [*before, [started, _now()]])

    try:
        yield extend
    finally:
        extend()


def seconds_at_work(header: Mapping[str, Any], records: Iterable[TrialRecord]) -> float | None:
    """Seconds that drivers were at work, summed (see `stretches`); None where the ledger does not say, being older."""
    if not header.get(DRIVERS):
        return None
    return sum((end - start).total_seconds() for start, end in stretches(header, records))


def stretches(header: Mapping[str, Any], records: Iterable[TrialRecord]) -> list[tuple[datetime.datetime, datetime.datetime]]:
    """Start and end of each driver; empty where the ledger does not say, being older.

    The stretch of one that was killed is taken to end with the last trial that was begun or had ended before the next one.
    """
    noted_ = [(_parsed(start), _parsed(end)) for start, end in header.get(DRIVERS, [])]
    # Records hold this machine's own time without its zone.
    times = [moment.astimezone() for record in records for moment in (record.started, record.ended) if moment is not None]
    out = []
    for number, (start, end) in enumerate(noted_):
        if start is None:
            continue
        next_start = noted_[number + 1][0] if number + 1 < len(noted_) else None
        before_next = [moment for moment in times if moment >= start and (next_start is None or moment < next_start)]
        out.append((start, end or max(before_next, default=start)))
    return out


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _parsed(text: str | None) -> datetime.datetime | None:
    return None if text is None else datetime.datetime.fromisoformat(text)
