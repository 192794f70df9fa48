"""What a search has acknowledged, seen from outside: an observer that reads the ledger meanwhile, and a check of the end.

They read the tables by itself, with SQLite alone, so that a mistake of ours in reading them cannot hide one in writing them.
"""

import contextlib
import json
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

LEDGER, TRIALS, LOG = "study.db", "trials", "log.txt"
_ENDED = {"COMPLETE", "PRUNED", "FAIL"}
_POLL_SECONDS = 0.05
_BUSY_SECONDS = 5.0
_NOTHING = object()
_ASKED = ("config", "assignment", "lineage")
_REPORT_LINE = re.compile(r" report (?P<report>\d+)/\d+: (?P<examples>\d+) examples, score (?P<score>-?[\d.]+|nan|inf) ")
_RESUME_LINE = re.compile(r" goes on from report-(?P<report>\d+)")


class Event(NamedTuple):
    """Names one thing that a ledger acknowledges: `kind` is ask, report, score, passed or end; `key` says which."""

    kind: str
    trial: int
    key: str


Events = dict[Event, str]


def read_events(ledger: Path) -> tuple[Events, list[str]]:
    """All that stands in a ledger, and what stands there twice.

    Raises:
        sqlite3.Error: it cannot be read, or not now.
    """
    rows: list[tuple[Event, str]] = []
    with _only_reading(ledger) as connection:
        connection.execute("BEGIN")  # one look at all tables
        numbers = {}
        for trial_id, number, state in connection.execute("SELECT trial_id, number, state FROM trials"):
            numbers[trial_id] = int(number)
            if state in _ENDED:
                rows.append((Event("end", number, "state"), state))
        for trial_id, key, value in connection.execute("SELECT trial_id, key, value_json FROM trial_user_attributes"):
            rows.append((Event(_kind_of(key), numbers[trial_id], key), value))
        query = "SELECT trial_id, step, intermediate_value FROM trial_intermediate_values"
        rows += [
            (Event("score", numbers[trial_id], str(step)), repr(score)) for trial_id, step, score in connection.execute(query)
        ]
    counts = Counter(event for event, _ in rows)
    return dict(rows), [f"{_say(event)} stands there {count} times" for event, count in counts.items() if count > 1]


@contextlib.contextmanager
def _only_reading(ledger: Path) -> Iterator[sqlite3.Connection]:
    uri = f"{ledger.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
        yield connection


def read_states(ledger: Path) -> dict[int, str]:
    """Trial -> Optuna's state of it."""
    with _only_reading(ledger) as connection:
        return {int(number): state for number, state in connection.execute("SELECT number, state FROM trials ORDER BY number")}


@dataclass
class Observer:
    """Reads a ledger over and over, in a thread of its own, and keeps what it has ever seen.

    Attributes:
        ledger: its file; need not be there yet.
        seen: every event, with the value it was first seen with.
        first_seen: when that was, on the monotonic clock.
        problems: what changed, or stood there twice, while somebody looked.
    """

    ledger: Path
    seen: Events = field(default_factory=dict)
    first_seen: dict[Event, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Observer":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def look(self) -> None:
        """One look; a ledger that is not there yet, or busy, shows nothing."""
        with self._lock:
            try:
                events, twice = read_events(self.ledger)
            except sqlite3.Error:
                return
            now = time.monotonic()
            problems = [*twice, *differences(self.seen, events)]
            self.problems += [problem for problem in problems if problem not in self.problems]
            for event, value in events.items():
                if event not in self.seen:
                    self.seen[event], self.first_seen[event] = value, now

    def seconds_to_first_event(self, since: float) -> float | None:
        """Seconds from a moment until something new was seen; None: nothing was."""
        later = [moment for moment in list(self.first_seen.values()) if moment > since]
        return min(later) - since if later else None

    def num(self, kind: str) -> int:
        """Events of a kind so far."""
        return sum(event.kind == kind for event in list(self.seen))

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(_POLL_SECONDS)


def differences(seen: Events, found: Events) -> list[str]:
    """What was seen and is gone, or stands otherwise."""
    gone = [f"{_say(event)} was acknowledged and is gone" for event in seen if event not in found]
    changed = [
        f"{_say(event)} {_change(value, found[event])}"
        for event, value in seen.items()
        if event in found and found[event] != value
    ]
    return gone + changed


def problems_of(folder: Path, seen: Events, num_trials: int) -> list[str]:
    """What is wrong with a search that has come to its end; empty: every acknowledged event stands once, and nothing else does.

    Args:
        folder: of the search.
        seen: what an observer saw while it ran.
        num_trials: that were asked for.
    """
    found, twice = read_events(folder / LEDGER)
    states = {number: state for number, state in read_states(folder / LEDGER).items() if state != "WAITING"}
    problems = [*twice, *differences(seen, found)]
    if sorted(states) != list(range(num_trials)):
        problems.append(f"trials 0 to {num_trials - 1} were asked for, but the ledger holds {sorted(states)}")
    problems += [f"trial {number} was left {state}" for number, state in states.items() if state not in _ENDED]
    problems += [f"{_say(event)} has no whole ask" for event in found if Event("ask", event.trial, "config") not in found]
    return problems + invented(folder, found)


def invented(folder: Path, events: Events) -> list[str]:
    """Reports that no worker's log knows of, and scores without their report."""
    problems = []
    logs: dict[int, TrialLog] = {}
    for event, value in events.items():
        if event.kind == "report":
            log = logs.setdefault(event.trial, read_log(folder, event.trial))
            if not log.knows(json.loads(value)):
                problems.append(f"{_say(event)} stands in no log")
        elif event.kind == "score" and Event("report", event.trial, f"report:{int(event.key):09d}") not in events:
            problems.append(f"{_say(event)} has no report")
    return problems


@dataclass(frozen=True)
class TrialLog:
    """What a trial's log tells: each report's line, as often as it was trained, and the checkpoints it went on from."""

    reports: list[tuple[int, int, str]]
    resumed_from: list[int]

    def knows(self, report: dict[str, Any]) -> bool:
        """Whether it was trained here; a worker that was killed before its line may only have said that it went on from it."""
        line = int(report["report"]), int(report["examples"]), f"{report['score']:.4f}"
        return line in self.reports or any(number >= line[0] for number in self.resumed_from)

    @property
    def num_redone(self) -> int:
        """Report intervals that were trained whole more than once."""
        return len(self.reports) - len({report for report, _, _ in self.reports})


def read_log(folder: Path, trial: int) -> TrialLog:
    """The log of a trial; an empty one where there is none."""
    path = folder / TRIALS / f"{trial:04d}" / LOG
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    reports = [(int(found["report"]), int(found["examples"]), found["score"]) for found in _REPORT_LINE.finditer(text)]
    return TrialLog(reports, [int(found["report"]) for found in _RESUME_LINE.finditer(text)])


def _kind_of(key: str) -> str:
    if key in _ASKED:
        return "ask"
    return {"report": "report", "passed": "passed", "reason": "end"}.get(key.partition(":")[0], "other")


def _say(event: Event) -> str:
    return f"trial {event.trial}: {event.kind} {event.key}"


def _change(before: str, after: str) -> str:
    """What stands otherwise: of mappings in JSON the keys that do."""
    try:
        old, new = json.loads(before), json.loads(after)
        keys = [key for key in {**old, **new} if old.get(key, _NOTHING) != new.get(key, _NOTHING)]
    except (ValueError, TypeError, AttributeError):
        keys = []
    if keys:
        before, after = (json.dumps({key: side[key] for key in keys if key in side}) for side in (old, new))
    return f"was {_short(before)} and is {_short(after)}"


def _short(value: str) -> str:
    return value if len(value) <= 120 else f"{value[:117]}..."
