"""When drivers were at work, and for how long in all."""

import datetime
from typing import Any

import pytest

from tuner.ledger import Ledger
from tuner.records import TrialRecord
from tuner.stretches import DRIVERS, noted, seconds_at_work

NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)


def at(minutes: float) -> str:
    return (NOON + datetime.timedelta(minutes=minutes)).isoformat()


def record(number: int, started: float, ended: float | None) -> TrialRecord:
    def here(minutes: float) -> datetime.datetime:
        """As the ledger has it: this machine's time, without its zone."""
        return (NOON + datetime.timedelta(minutes=minutes)).astimezone().replace(tzinfo=None)

    return TrialRecord(number, "running", {}, {}, (), started=here(started), ended=None if ended is None else here(ended))


def test_each_driver_is_noted_whatever_ends_it(ledger: Ledger) -> None:
    with noted(ledger):
        [[start, end]] = ledger.header[DRIVERS]
        assert end is None
    [[first, end]] = ledger.header[DRIVERS]
    assert first == start <= end
    with pytest.raises(KeyboardInterrupt), noted(ledger):
        raise KeyboardInterrupt
    [before, [_, last]] = ledger.header[DRIVERS]
    assert before == [start, end] and last >= end
    assert 0 <= (seconds_at_work(ledger.header, []) or -1) < 60


def test_a_driver_at_work_may_say_so_meanwhile(ledger: Ledger) -> None:
    with noted(ledger) as extend:
        assert seconds_at_work(ledger.header, [record(0, 1, 10)]) == 0
        extend()
        [[start, meanwhile]] = ledger.header[DRIVERS]
        assert start <= meanwhile
    [[same, end]] = ledger.header[DRIVERS]
    assert same == start and end >= meanwhile


def test_stretches_are_summed_and_an_older_ledger_tells_none() -> None:
    assert seconds_at_work({}, []) is None
    assert seconds_at_work({DRIVERS: [[at(0), at(5)], [at(60), at(62)]]}, []) == 7 * 60


@pytest.mark.parametrize(
    ("stretches", "minutes"),
    [
        ([[at(0), None]], 30),  # the last trial ended then
        ([[at(0), None], [at(25), at(40)]], 10 + 15),  # the last that it began before the next driver came
        ([[at(0), at(3)], [at(50), None]], 3),  # killed before anything happened
    ],
)
def test_a_driver_that_was_killed_is_taken_to_have_worked_until_its_last_trial(stretches: list[Any], minutes: float) -> None:
    records = [record(0, 1, 10), record(1, 8, 30), record(2, 26, None)]
    assert seconds_at_work({DRIVERS: stretches}, records) == pytest.approx(60 * minutes)
