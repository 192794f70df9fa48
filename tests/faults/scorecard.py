"""The scorecard: one row a fault, as figures first, then as a table."""

import datetime
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tuner.lineage import describe_code_and_machine

HEADINGS = ("row", "what is done", "runs", "failures", "recovered in s, median", "worst", "intervals redone, median", "worst")


@dataclass
class Row:
    """What came of one fault.

    Attributes:
        number: of the row.
        title: what is done.
        runs: how often it was done.
        failures: a sentence for each run, or check, that did not hold.
        recover_seconds: of each run that has such a time; `recovered` says from when to when.
        redone_intervals: report intervals that a live trial trained again, of each run.
        recovered: what the seconds are of.
        notes: whatever else is worth telling.
    """

    number: int
    title: str
    recovered: str = ""
    runs: int = 0
    failures: list[str] = field(default_factory=list)
    recover_seconds: list[float] = field(default_factory=list)
    redone_intervals: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """As it stands in the table."""
        seconds, redone = self.recover_seconds, self.redone_intervals
        title = f"{self.title} ({self.recovered})" if self.recovered else self.title
        figures = [*_middle_and_worst(seconds, ".1f"), *_middle_and_worst(redone, ".2f")]
        return (str(self.number), title, str(self.runs), str(len(self.failures)), *figures)


def first_if_quick(names: Iterable[str]) -> list[Any]:
    """Names to run a test with: the first in both sets, the others in the full one alone."""
    first, *others = names
    return [first, *(pytest.param(name, marks=pytest.mark.faults(quick=False)) for name in others)]


def markdown(rows: Sequence[Row]) -> str:
    """The table, and a line for each failure."""
    lines = [_line(HEADINGS), _line(["---"] * len(HEADINGS)), *(_line(row.cells()) for row in _in_order(rows))]
    failures = [f"- row {row.number}: {failure}" for row in _in_order(rows) for failure in row.failures]
    notes = [f"- row {row.number}: {note}" for row in _in_order(rows) for note in row.notes]
    return "\n".join([*lines, *([""] if failures or notes else []), *failures, *notes, ""])


def heading() -> str:
    """What one must know to read the table: where it comes from, and what its columns are."""
    made = describe_code_and_machine()
    commit, hardware = (made["git_commit"] or "without a commit")[:12], made["hardware"]
    machine = f"{hardware['num_cpus']} cores, {hardware['cpu']}, {hardware['memory_gib']} GiB"
    return f"""# Faults: the scorecard

Made by `make test-faults` on {datetime.date.today()}, commit {commit}, {machine}.
A search there is a few trials of a tiny encoder, so that the seconds are those of starts, ends and waits. After each run the
ledger is looked at: every acknowledged event once, none invented, as many trials as were asked for. *Recovered* is in seconds,
from and to what the row's title says; *intervals redone* is what live trials trained a second time, in intervals between two
reports.
"""


def write(rows: Sequence[Row], stem: Path) -> None:
    """Writes `STEM.md` and `STEM.json`."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".md").write_text(f"{heading()}\n{markdown(rows)}", encoding="utf-8")
    tree = [row.__dict__ for row in _in_order(rows)]
    stem.with_suffix(".json").write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """By number; those of one number and title are one."""
    together: dict[tuple[int, str], Row] = {}
    for row in rows:
        one = together.setdefault((row.number, row.title), Row(row.number, row.title, row.recovered))
        one.runs += row.runs
        for what in ("failures", "recover_seconds", "redone_intervals", "notes"):
            getattr(one, what).extend(getattr(row, what))
    return sorted(together.values(), key=lambda row: row.number)


def _middle_and_worst(figures: Sequence[float], form: str) -> tuple[str, str]:
    return (format(statistics.median(figures), form), format(max(figures), form)) if figures else ("", "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
