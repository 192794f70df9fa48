"""`python -m reports.leaderboard DIR`: which trial leads, what it was, what it cost; read from the ledger alone.

A trial with its full budget always stands above one without, because scores at different budgets do not compare.  Inside each
group the score decides.  `build_leaderboard` computes the numbers, `render`, `plain` and `markdown` draw them.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.text import Text

from reports import beside_paper as paper
from reports.beside_paper import BesidePaper, read_beside_paper
from reports.confirmed import ConfirmedTable, columns, confirmed_table
from search_spaces.domains import Value
from search_spaces.space import Assignment
from trainables.config import tasks_of
from trainables.tasks import CS224N, TaskSet
from tuner.confirmation import Confirmation, confirmation_of
from tuner.console import SteadyConsole, visible, visible_lines
from tuner.ledger import Ledger
from tuner.ledger_places import LedgerError
from tuner.records import TrialRecord, searched, searched_rows, standing
from tuner.search_folder import is_live
from tuner.tables import Column, align, as_markdown, draw, lay_out

RANKING = "Ranked by score: first the trials with their full budget, then the others; failed ones have no rank."
_VAGUE_NAMES = frozenset({"enabled", "kind", "name", "weights"})
_STYLES = {"complete": "", "running": "cyan", "interrupted": "yellow", "stopped": "dim", "failed": "red"}


@dataclass(frozen=True)
class Row:
    """One trial.

    Attributes:
        rank: 1 for the best; None for failed trials and those without a report.
        trial: its number in the search.
        score: of its best report, in [0, 1]; None before the first.
        metrics: task -> its metric in that same report; None before the first.
        budget_examples: training examples seen up to the last report.
        budget_share: that over the full budget; None where the full budget is not known.
        state: `complete`, `stopped`, `failed`, `interrupted` or `running`.
        reason: why it failed, else empty.
        assignment: config path -> value: what the sampler chose.
        dev_share: share of dev that its score is of; 1 before the first report.
        train_seconds: time spent in training steps.
    """

    rank: int | None
    trial: int
    score: float | None
    metrics: dict[str, float | None]
    budget_examples: int
    budget_share: float | None
    state: str
    reason: str
    assignment: Assignment
    train_seconds: float
    dev_share: float = 1.0


@dataclass(frozen=True)
class Leaderboard:
    """The trials from best to worst.

    Attributes:
        tasks: names of the tasks.
        paths: config paths whose values differ between the trials, in the order of the space.
        rows: one a trial.
        full_budget: training examples of a whole trial; None where nothing tells it, or where a study's rows differ.
        counts: trials by state.
        best: what the sampler chose for the winner: the best that is confirmed, else the first of the ranking; empty where no
            trial has a rank.
        best_trial: its number; None where no trial has a rank, or where the config that all start from has won.
        confirmed: what the best came to when they were trained again; None where the search does not do so.
        confirm_share: of dev, that is kept for that and that no score in `rows` is of.
    """

    tasks: tuple[str, ...]
    paths: tuple[str, ...]
    rows: tuple[Row, ...]
    full_budget: int | None
    counts: dict[str, int]
    best: Assignment
    best_trial: int | None = None
    confirmed: ConfirmedTable | None = None
    confirm_share: float = 0.0


def build_leaderboard(
    records: Sequence[TrialRecord],
    full_budget: int | None,
    tasks: TaskSet = CS224N,
    *,
    confirmation: Confirmation | None = None,
    confirm_share: float = 0.0,
) -> Leaderboard:
    """The leaderboard of some trials, as numbers.

    Args:
        records: the trials, in any order.
        full_budget: training examples of a whole trial; None where it is not known.
        tasks: that the trials are about.
        confirmation: of the search; None: it confirms nothing.
        confirm_share: of dev, kept for that.
    """
    trials = searched(records)
    ordered = sorted(trials, key=standing)
    rows = tuple(_row(record, rank, full_budget, tasks) for rank, record in enumerate(ordered, start=1))
    leader = ordered[0] if rows and rows[0].rank == 1 else None
    if confirmation is not None and confirmation.winner is not None:
        trial = confirmation.winner.trial
        leader = None if trial is None else next(record for record in trials if record.number == trial)
    return Leaderboard(
        tasks=tasks.names,
        paths=varying_paths([record.assignment for record in trials]),
        rows=rows,
        full_budget=full_budget,
        counts=dict(Counter(record.state for record in trials)),
        best=dict(leader.assignment) if leader else {},
        best_trial=leader.number if leader else None,
        confirmed=None if confirmation is None else confirmed_table(confirmation),
        confirm_share=confirm_share,
    )


def varying_paths(assignments: Iterable[Assignment]) -> tuple[str, ...]:
    """The paths that have more than one value, `plays no part` counted as a value; assignments cut short do not count."""
    whole = [assignment for assignment in assignments if assignment]
    paths: list[str] = []
    for assignment in whole:
        at = 0
        for path in assignment:  # each new path goes behind the one before it, so that conditional ones find their place
            if path not in paths:
                paths.insert(at, path)
            at = paths.index(path) + 1
    return tuple(p for p in paths if len({(type(a.get(p)), a.get(p)) for a in whole}) > 1)


def short_names(paths: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """A name for each path: its last key, and keys before it where two would be alike or the last one says too little.

    None of them is one of `taken`, the names of other columns, unless a path has no more keys.
    """
    keys = [[key for key in path.split(".") if key != "*"] for path in paths]
    lengths = [1] * len(keys)
    while True:
        names = [".".join(parts[-length:]) for parts, length in zip(keys, lengths, strict=True)]
        alike = {name for name, count in Counter(names).items() if count > 1 or name in taken}
        vague = [name.partition(".")[0] in _VAGUE_NAMES for name in names]
        grown = [n + ((v or name in alike) and n < len(k)) for n, v, name, k in zip(lengths, vague, names, keys, strict=True)]
        if grown == lengths:
            return [path if name in alike else name for path, name in zip(paths, names, strict=True)]
        lengths = grown


def full_budget_examples(header: Mapping[str, Any], records: Sequence[TrialRecord]) -> int | None:
    """Training examples of a whole trial: as the trials' configs say, else the search's, else as a complete trial needed.

    None where the trials' configs differ.
    """
    said = {record.config["budget_examples"] for record in records if record.config.get("budget_examples")}
    if len(said) > 1:
        return None
    base = (header.get("base") or {}).get("budget_examples")
    return next(iter(said), base) or max((record.budget_used for record in records if record.state == "complete"), default=None)


def read_leaderboard(folder: Path, *, live: bool | None = None) -> Leaderboard:
    """The leaderboard of the search in a folder.

    Args:
        folder: of the search.
        live: whether what has not ended is running; None: whether a driver is at work on it.

    Raises:
        LedgerError: no search there, or none that can be read.
    """
    ledger = Ledger.read(folder)
    return leaderboard_of(ledger.header, ledger.records(live=is_live(folder) if live is None else live))


def leaderboard_of(header: Mapping[str, Any], records: Sequence[TrialRecord]) -> Leaderboard:
    """The leaderboard of a search, by its ledger's header and records."""
    full_budget, base = full_budget_examples(header, records), header.get("base") or {}
    share = float((base.get("data") or {}).get("confirm_share") or 0.0)
    settings = header.get("settings") or {}
    wanted = share and settings.get("confirm") and settings.get("study") is None
    confirmation = confirmation_of(header, records) if wanted else None
    return build_leaderboard(records, full_budget, tasks_of(base), confirmation=confirmation, confirm_share=share)


def render(leaderboard: Leaderboard, width: int, top: int | None = None) -> RenderableType:
    """The leaderboard for a terminal `width` columns wide: what does not fit beside the scores follows in further tables."""
    rows = leaderboard.rows[:top]
    fixed, varying = fixed_columns(leaderboard.tasks, rows), _varying_columns(leaderboard.paths, rows, leaderboard.tasks)
    blocks = lay_out(fixed, varying, width)
    styles = ["bold green" if row.rank == 1 else _STYLES[row.state] for row in rows]
    parts: list[RenderableType] = [part for block in blocks for part in (draw(block, styles), "")]
    if leaderboard.confirmed is not None and leaderboard.confirmed.rows:
        of_configs = ["bold green", *[""] * (len(leaderboard.confirmed.rows) - 1)]
        found = columns(leaderboard.confirmed)
        parts += [part for block in lay_out(found[:2], found[2:], width) for part in (draw(block, of_configs), "")]
    return Group(*parts, *(Text.from_markup(line) for line in _footer(leaderboard, len(rows))))


def plain(leaderboard: Leaderboard, top: int | None = None) -> str:
    """The leaderboard as aligned text, all columns side by side, no spaces inside a cell."""
    rows = leaderboard.rows[:top]
    trials = fixed_columns(leaderboard.tasks, rows, separator=":")
    trials += _varying_columns(leaderboard.paths, rows, leaderboard.tasks)
    footer = [Text.from_markup(line).plain for line in _footer(leaderboard, len(rows))]
    again = [*align(columns(leaderboard.confirmed)), ""] if leaderboard.confirmed and leaderboard.confirmed.rows else []
    return "\n".join([*align(trials), "", *again, *footer])


def markdown(leaderboard: Leaderboard) -> str:
    """The scores of a leaderboard as a table in Markdown, without what varies: that may be dozens of columns."""
    return "\n".join(as_markdown(fixed_columns(leaderboard.tasks, leaderboard.rows)))


def print_leaderboard(folder: Path, console: Console, top: int | None = None, *, live: bool | None = None) -> None:
    """Prints the leaderboard of the search in a folder (see `read_leaderboard`): tables on a terminal, plain text elsewhere.

    Raises:
        LedgerError: no search there, or none that can be read.
    """
    _show(read_leaderboard(folder, live=live), console, top, as_text=not console.is_terminal)


def _row(record: TrialRecord, rank: int, full_budget: int | None, tasks: TaskSet) -> Row:
    report = record.best_report or {}
    full_budget = record.config.get("budget_examples") or full_budget
    return Row(
        rank=rank if report and record.state != "failed" else None,
        trial=record.number,
        score=record.score,
        metrics={task.name: report.get(task.metric_key) for task in tasks.tasks},
        budget_examples=record.budget_used,
        budget_share=record.budget_used / full_budget if full_budget else None,
        state=record.state,
        reason=record.reason,
        assignment=dict(record.assignment),
        train_seconds=record.train_seconds,
        dev_share=float(report.get("dev_share", 1.0)),
    )


def fixed_columns(tasks: Sequence[str], rows: Sequence[Row], separator: str = ": ") -> list[Column]:
    """What stands in the table whatever varies: rank, scores, budget, ending, seconds."""
    budgets = tuple(f"{r.budget_share:.0%}" if r.budget_share is not None else str(r.budget_examples) for r in rows)
    states = tuple(f"{row.state}{separator}{row.reason}" if row.reason else row.state for row in rows)
    metrics = [Column(task, tuple(_fixed_point(row.metrics[task]) for row in rows)) for task in tasks]
    return [
        Column("#", tuple(_cell(row.rank) for row in rows)),
        Column("trial", tuple(str(row.trial) for row in rows)),
        Column("score", tuple(_fixed_point(row.score, 4) for row in rows)),
        *metrics,
        Column("budget", budgets),
        Column("state", states, is_number=False),
        Column("seconds", tuple(f"{row.train_seconds:.0f}" for row in rows)),
    ]


def caveats(leaderboard: Leaderboard, rows: Sequence[Row]) -> list[str]:
    """What the scores of some rows are of, where that is not all of dev: a sentence each."""
    lines, parts = [], sorted({row.dev_share for row in rows if row.dev_share < 1})
    if parts:
        of = " or ".join(f"{share:.0%}" for share in parts)
        of_all = searched_rows(leaderboard.confirm_share)
        why = "it does not compare with one of all of it."
        lines.append(f"Without its full budget, a trial's score is of {of} of {of_all}: {why}")
    if leaderboard.confirm_share:
        lines.append(f"Trials are scored on the search part, {1 - leaderboard.confirm_share:.0%} of dev; the rest is kept back.")
    return lines


def _varying_columns(paths: Sequence[str], rows: Sequence[Row], taken: Collection[str]) -> list[Column]:
    out = []
    for path, name in zip(paths, short_names(paths, taken), strict=True):
        values = [row.assignment.get(path) for row in rows]
        is_number = not any(isinstance(value, bool | str) for value in values)
        out.append(Column(name, tuple(map(_cell, values)), is_number))
    return out


def _footer(leaderboard: Leaderboard, num_shown: int) -> list[str]:
    counts = ", ".join(f"{leaderboard.counts[state]} {state}" for state in _STYLES if state in leaderboard.counts)
    hidden = len(leaderboard.rows) - num_shown
    lines = [f"{len(leaderboard.rows)} trials: {counts or 'none yet'}" + (f" ({hidden} not shown)" if hidden else "")]
    if leaderboard.full_budget:
        lines[-1] += f"; full budget {leaderboard.full_budget} examples"
    lines.append(f"[dim]{RANKING}[/dim]")
    lines += [f"[dim]{line}[/dim]" for line in caveats(leaderboard, leaderboard.rows)]
    if leaderboard.confirmed is not None:
        claim = leaderboard.confirmed.claim
        lines += ["", *map(escape, map(visible, [*leaderboard.confirmed.left_out, claim[0].upper() + claim[1:] + "."]))]
    if leaderboard.best:
        state = next(row.state for row in leaderboard.rows if row.trial == leaderboard.best_trial)
        so_far = "" if state == "complete" else " so far, without its full budget"
        lines += ["", f"[bold]Best config{so_far}[/bold] (trial {leaderboard.best_trial}):"]
        chosen = ((path, json.dumps(v) if isinstance(v, bool) else v) for path, v in leaderboard.best.items())
        lines += [escape(visible(f"  {path}={value}")) for path, value in chosen]
    return lines


def _cell(value: Value | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _fixed_point(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _show(leaderboard: Leaderboard, console: Console, top: int | None, *, as_text: bool) -> None:
    if as_text:
        console.print(plain(leaderboard, top), markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(render(leaderboard, console.width, top), highlight=False)


def _show_beside_paper(compared: BesidePaper, console: Console, *, as_json: bool, as_text: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(compared), indent=2))
    elif as_text:
        typer.echo(visible_lines(paper.plain(compared)))
    else:
        console.print(paper.render(compared), highlight=False)


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help="Show which trial of a search leads.  Reads the ledger alone and changes nothing.")
def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a search, such as runs/night1.")],
    top: Annotated[int | None, typer.Option(min=1, help="Show the first N trials only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
    beside_paper: Annotated[
        bool, typer.Option("--beside-paper", help="A study's figures beside the paper's, and whether the order of rows agrees.")
    ] = False,
    as_text: Annotated[bool, typer.Option("--plain", help="Aligned text, all columns; what a pipe gets.")] = False,
) -> None:
    """Reads, and shows as asked for."""
    console = SteadyConsole()
    as_text = as_text or not console.is_terminal
    try:
        if beside_paper:
            _show_beside_paper(read_beside_paper(folder), console, as_json=as_json, as_text=as_text)
            return
        leaderboard = read_leaderboard(folder)
    except LedgerError as error:
        typer.echo(visible_lines(f"error: {error}"), err=True)
        raise typer.Exit(2) from None
    if as_json:
        tree = asdict(leaderboard) | {"rows": [asdict(row) for row in leaderboard.rows[:top]]}
        typer.echo(json.dumps(tree, indent=2))
        return
    _show(leaderboard, console, top, as_text=as_text)


if __name__ == "__main__":
    app()
