"""What a person sees while a search runs: a live table in a terminal, a line an event elsewhere.

Fed by the referee's events; it never asks the ledger anything and may not disturb the search.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from textwrap import shorten
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainables.config import tasks_of
from tuner.console import visible
from tuner.records import TrialRecord, rank, searched_rows

RungTable = Callable[[], Sequence[tuple[int, int, int, float | None]]]
_SHORT_CLOCK = 3600
_MAX_SETTINGS = 240
"""Characters of a trial's settings in a line; all of them stand in the leaderboard."""


@dataclass
class Tally:
    """What has happened so far: the numbers behind the display, which another thread may read at any moment.

    Attributes:
        num_trials: trials of the whole search, and trainings that confirm its best.
        num_to_confirm: of these the latter, which no rung stops.
        num_reports: reports of a trial with its full budget.
        full_budget: training examples of such a trial.
        reduction_factor: eta of the rungs; 1 where there is no early stopping.
        by_number: newest records of the trials that run.
        num_ended: ended trials by state.
        best_ended: the best of them.
        examples_done: training examples that this driver saw reported.
        confirming: numbers of the trainings that confirm and have begun.
    """

    num_trials: int
    num_reports: int
    full_budget: int
    reduction_factor: int = 1
    rung_reports: Sequence[int] = ()
    by_number: dict[int, TrialRecord] = field(default_factory=dict)
    num_ended: Counter[str] = field(default_factory=Counter)
    best_ended: TrialRecord | None = None
    examples_done: int = 0
    num_to_confirm: int = 0
    confirming: set[int] = field(default_factory=set)

    def note(self, event: str, record: TrialRecord) -> None:
        """Takes in one event of the referee."""
        if event == "report":
            before = record.reports[-2]["budget"] if len(record.reports) > 1 else 0
            self.examples_done += record.reports[-1]["budget"] - before
        self.take_in(record)

    def take_in(self, record: TrialRecord) -> None:
        """Takes in what a trial has come to; one that has ended comes no more."""
        if record.confirms is not None:
            self.confirming.add(record.number)
        if record.state == "running":
            self.by_number[record.number] = record
            return
        # Last of all it runs no more: a display that looks in between counts it twice rather than not at all.
        self.num_ended[record.state] += 1
        self.best_ended = next(iter(rank([record, *([self.best_ended] if self.best_ended else [])])), None)
        self.by_number.pop(record.number, None)

    @property
    def best(self) -> TrialRecord | None:
        """The trial to beat: the best score, complete trials before all others."""
        ended = [self.best_ended] if self.best_ended else []
        return next(iter(rank([*ended, *self.running])), None)

    @property
    def running(self) -> list[TrialRecord]:
        """Trials that run, in order."""
        return sorted(self.by_number.copy().values(), key=lambda record: record.number)

    @property
    def num_begun(self) -> int:
        """Trials that run or have ended."""
        return len(self.by_number) + sum(self.num_ended.copy().values())

    def examples_to_come(self) -> float:
        """Training examples still to be seen, expecting one trial of eta to go on at each rung that may stop it."""
        to_confirm = max(0, self.num_to_confirm - len(self.confirming))
        waiting = max(0, self.num_trials - self.num_begun - to_confirm)
        new = waiting * self._expected(0, self.rung_reports) + to_confirm * self._expected(0, ())
        return new + sum(self._expected(len(record.reports), self._rungs_of(record)) for record in self.running)

    def _rungs_of(self, record: TrialRecord) -> Sequence[int]:
        return self.rung_reports if record.confirms is None and record.audited is None else ()

    def _expected(self, reports_done: int, rung_reports: Sequence[int]) -> float:
        """Examples that a trial is expected to see after so many reports."""
        share, expected, position = 1.0, 0.0, reports_done
        for rung in [*(rung for rung in rung_reports if rung > reports_done), self.num_reports]:
            expected += share * (rung - position)
            share, position = share / self.reduction_factor, rung
        return expected * self.full_budget / self.num_reports


class Progress:
    """Shows a search; a context manager, and a listener for the referee.

    Args:
        name: of the search.
        tally: what has happened before, to go on from.
        rung_table: gives a row a rung: report, reached, went on, best score.
        console: where to; a live table if it is a terminal, plain lines if not.
        quiet: show nothing.
        notice: gives what is to stand above all else; empty: nothing.
    """

    def __init__(
        self,
        name: str,
        tally: Tally,
        rung_table: RungTable,
        console: Console,
        *,
        quiet: bool = False,
        notice: Callable[[], str] = str,
    ) -> None:
        self.tally = tally
        self._name, self._rung_table, self._console, self._quiet = name, rung_table, console, quiet
        self._notice = notice
        self._started = time.monotonic()
        self._first_event: float | None = None
        self._live = Live(get_renderable=self.render, console=console, refresh_per_second=2, transient=True)
        self._is_live = console.is_terminal and not quiet

    def __enter__(self) -> "Progress":
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._is_live:
            self._live.stop()

    def __call__(self, event: str, record: TrialRecord) -> None:
        """Takes in one event of the referee."""
        self._first_event = self._first_event or time.monotonic()
        self.tally.note(event, record)
        if not self._is_live and not self._quiet:
            line = visible(describe_event(event, record, self.tally.num_reports))
            self._console.print(f"{_clock(self.elapsed_seconds)}  {line}", markup=False, highlight=False, soft_wrap=True)

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the display was made."""
        return time.monotonic() - self._started

    @property
    def examples_per_second(self) -> float:
        """Training examples a second, over all trials, since the first trial was handed out."""
        if self._first_event is None:
            return 0.0
        return self.tally.examples_done / max(1e-9, time.monotonic() - self._first_event)

    @property
    def eta_seconds(self) -> float | None:
        """Expected seconds to the end; None before the first report."""
        rate = self.examples_per_second
        return self.tally.examples_to_come() / rate if rate > 0 else None

    def render(self) -> RenderableType:
        """The live display."""
        notice = [Text(text, style="bold yellow")] if (text := self._notice()) else []
        parts: list[RenderableType] = [*notice, self._headline(), _running_table(self.tally)]
        rungs = self._rung_table()
        if any(reached for _, reached, _, _ in rungs):
            parts.append(_rungs_table(rungs, self.tally.num_reports))
        if best := self.tally.best:
            parts.append(_best_lines(best))
        return Group(*parts)

    def _headline(self) -> Text:
        counts = {**self.tally.num_ended, "running": len(self.tally.by_number)}
        waiting = self.tally.num_trials - self.tally.num_begun
        states = [f"{counts[state]} {state}" for state in ("complete", "stopped", "failed", "running") if counts.get(state)]
        eta = self.eta_seconds
        pieces = [
            f"{self._name}: {self.tally.num_begun} of {self.tally.num_trials} trials begun",
            ", ".join([*states, *([f"{waiting} to come"] if waiting > 0 else [])]),
            f"{_clock(self.elapsed_seconds)} gone, about {_clock(eta)} to go"
            if eta is not None
            else _clock(self.elapsed_seconds),
            f"{self.examples_per_second:.0f} examples/s",
        ]
        return Text(" · ".join(pieces), style="bold")


def describe_event(event: str, record: TrialRecord, num_reports: int) -> str:
    """One event as a line of plain text."""
    name = f"trial {record.number:>3}"
    if event in {"ask", "confirm", "requeue"}:
        return f"{name}  {_beginning(event, record, num_reports)}"
    if event == "report":
        report = record.reports[-1]
        metrics = "  ".join(f"{key} {report[key]:.3f}" for key in _metric_keys(record))
        rate = f"{report['examples_per_second']:.0f} examples/s" if report["examples_per_second"] else "no step since the last"
        return f"{name}  {report['report']}/{num_reports}  score {report['score']:.4f}{_of_part(record)}  {metrics}  {rate}"
    if event == "audit":
        return f"{name}  would be stopped, runs on: drawn to audit early stopping"
    if event == "halve":
        return f"{name}  out of memory: goes on with {record.micro_batch_size} examples at once"
    if record.state == "failed":
        return f"{name}  failed: {record.reason}  {record.detail}"
    return f"{name}  {record.state} with score {record.score:.4f}" if record.score is not None else f"{name}  {record.state}"


def _beginning(event: str, record: TrialRecord, num_reports: int) -> str:
    if event == "ask":
        return f"starts   {shorten(_assignment(record), _MAX_SETTINGS, placeholder=' ...')}"
    if event == "confirm" and record.confirms is not None:
        what = "the config that all start from" if record.confirms.trial is None else f"trial {record.confirms.trial}"
        return f"confirms {what}, new seed {record.confirms.repeat + 1}"
    return f"goes on after report {len(record.reports)} of {num_reports}" if record.reports else "begins again"


def _of_part(record: TrialRecord) -> str:
    """That the newest score is of part of what the last will be of, and so does not compare with one of all of it."""
    share = record.reports[-1].get("dev_share", 1.0)
    return "" if share == 1 else f" on {share:.0%} of {searched_rows(record.config['data'].get('confirm_share', 0.0))}"


def _metric_keys(record: TrialRecord) -> tuple[str, ...]:
    """What a trial's reports call the tasks' metrics."""
    return tuple(task.metric_key for task in tasks_of(record.config).tasks)


def _running_table(tally: Tally) -> Table:
    keys = _metric_keys(tally.running[0]) if tally.running else ()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("trial", "reports", "score", *keys, "examples/s"):
        table.add_column(column, justify="right")
    for record in tally.running:
        cells = [str(record.number), f"{len(record.reports)}/{tally.num_reports}"]
        if record.reports:
            report = record.reports[-1]
            cells += [f"{report['score']:.4f}", *(f"{report[key]:.3f}" for key in keys)]
            cells.append(f"{report['examples_per_second']:.0f}")
        table.add_row(*cells)
    return table


def _rungs_table(rungs: Sequence[tuple[int, int, int, float | None]], num_reports: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("rung", "reached", "went on", "best"):
        table.add_column(column, justify="right")
    for report, reached, went_on, best in rungs:
        table.add_row(f"{report}/{num_reports}", str(reached), str(went_on), "-" if best is None else f"{best:.4f}")
    return table


def _best_lines(record: TrialRecord) -> Text:
    return Text(f"best: trial {record.number} ({record.state}), score {record.score:.4f}\n{_assignment(record)}", style="green")


def _assignment(record: TrialRecord) -> str:
    texts = {path: f"{value:.3g}" if isinstance(value, float) else str(value) for path, value in record.assignment.items()}
    return " ".join(f"{path}={text}" for path, text in texts.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:d}:{rest:02d}" if seconds < _SHORT_CLOCK else f"{minutes // 60:d}:{minutes % 60:02d}:{rest:02d}"
