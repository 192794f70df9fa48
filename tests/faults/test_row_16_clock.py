"""Row 16: the clock is set back an hour, or forward a day, again and again while a trial and a search go on.

The clock is patched where it is read: in the session's log and the ledger's times; checkpoints get the times that the clock of
then would have given them.  libfaketime 0.9.10 will not do: under Python 3.11 it makes every `time.sleep` raise EINVAL.
"""

import datetime
import os
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import trainables.session
import tuner.ledger
from tests.faults.scorecard import Row
from tests.trainables.conftest import small_config, small_folder  # noqa: F401  fixtures
from tests.trainables.curves import plain
from tests.trainables.test_session import finish
from tests.tuner.conftest import toy  # noqa: F401  a fixture
from tests.tuner.test_referee import by_number, drive, outcome
from trainables.config import TrialConfig
from trainables.session import TrialSession
from tuner.ledger import Ledger
from tuner.ledger_places import LEDGER_FILE

HOUR, DAY = 3600.0, 86400.0
JUMPS = (-HOUR, DAY)


class Clock(datetime.datetime):
    """The time of day, as far off as somebody has set it."""

    offset_seconds = 0.0

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "Clock":
        real = datetime.datetime.fromtimestamp(time.time() + cls.offset_seconds, tz)
        return cls(*real.timetuple()[:6], real.microsecond, real.tzinfo)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Clock]]:
    monkeypatch.setattr(trainables.session, "datetime", Clock)
    monkeypatch.setattr(tuner.ledger, "datetime", SimpleNamespace(**{**vars(datetime), "datetime": Clock}))
    yield Clock
    Clock.offset_seconds = 0.0


def set_times(folder: Path) -> None:
    """Gives all that lies there the time that the clock says."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() + Clock.offset_seconds,) * 2)


@pytest.mark.faults
@pytest.mark.parametrize("jumps", [JUMPS, JUMPS[::-1]], ids=["back first", "forward first"])
def test_a_trial_goes_on_from_its_newest_report(
    small_config: TrialConfig,  # noqa: F811
    tmp_path: Path,
    clock: type[Clock],
    row: Callable[..., Row],
    jumps: tuple[float, ...],
) -> None:
    filled = row(16, "clock set back an hour, forward a day, between two starts of a trial")
    wanted = [plain(report) for report in finish(TrialSession(small_config, tmp_path / "undisturbed"))]
    found = []
    for number, jump in zip(range(small_config.num_reports), cycle(jumps), strict=False):
        session = TrialSession(small_config, tmp_path / "trial")
        found.append({key: value for key, value in plain(session.next_report()).items() if key != "applied"})
        if session.resumed_from is not None and session.resumed_from.name != f"report-{number:04d}":
            filled.failures.append(f"after {number} reports it went on from {session.resumed_from.name}")
        set_times(tmp_path / "trial" / "checkpoints" / f"report-{number + 1:04d}")
        clock.offset_seconds += jump
        filled.runs += 1
    if found != wanted:
        filled.failures.append("its curve is not the undisturbed one's")
    years_days = {line[:10] for line in (tmp_path / "trial" / "log.txt").read_text().splitlines()}
    assert len(years_days) > 1, "the clock was not set"
    assert filled.failures == []


@pytest.mark.faults
def test_a_search_comes_to_the_same(toy: Any, tmp_path: Path, clock: type[Clock], row: Callable[..., Row]) -> None:  # noqa: F811
    filled = row(16, "clock set back an hour, forward a day, after each event of a search")
    undisturbed, disturbed = toy.new_ledger(tmp_path / "undisturbed"), toy.new_ledger(tmp_path / "disturbed")
    drive(toy, undisturbed, by_number)
    jumps = cycle(JUMPS)

    def set_clock(_event: str, _record: Any) -> None:
        clock.offset_seconds += next(jumps)
        filled.runs += 1

    drive(toy, disturbed, by_number, set_clock)
    reopened = Ledger.open(tmp_path / "disturbed")
    assert (tmp_path / "disturbed" / LEDGER_FILE).exists()
    if outcome(reopened) != outcome(undisturbed):
        filled.failures.append("the search came to something else")
    assert len({record.started.date() for record in reopened.records()}) > 1, "the clock was not set"
    assert filled.failures == []
