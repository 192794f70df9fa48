"""Sections on scores: the winner, the leaderboard, the best so far, all curves, the tasks against each other."""

from collections.abc import Sequence
from itertools import islice

from reports import drawing
from reports.confirmed import ConfirmedRow, columns
from reports.curves import best_so_far, curves, rung_budgets
from reports.leaderboard import RANKING, caveats, fixed_columns
from reports.page import Drawing, Figures, Paragraph, Section, SectionPart, TablePart
from reports.scales import said
from reports.search import Search
from reports.tradeoffs import Front, front
from tuner.plan_text import duration
from tuner.records import config_in_words, searched
from tuner.tables import Column

MOST_ROWS = 100
_MOST_PAIRS = 6


def winner(search: Search) -> Section:
    """Who won, what may be said of it, and its config."""
    board = search.board
    parts: list[SectionPart] = []
    if board.confirmed is not None:
        claim = board.confirmed.claim
        parts.append(Paragraph(f"{claim[0].upper()}{claim[1:]}.", "claim"))
        parts += [Paragraph(line) for line in board.confirmed.left_out]
        parts += [Paragraph(_handed_over(row)) for row in board.confirmed.rows[:1]]
    elif board.best_trial is not None:
        parts.append(Paragraph("Not confirmed: its score is the one that it was chosen by, and on the lucky side.", "claim"))
    row = next((row for row in board.rows if row.trial == board.best_trial), None)
    if row is not None and row.score is not None:
        metrics = ", ".join(f"{task} {value:.3f}" for task, value in row.metrics.items() if value is not None)
        so_far = "" if row.state == "complete" else "; so far, without its full budget"
        scored = "its score in the search, by which it was chosen, is" if board.confirmed and board.confirmed.rows else "score"
        parts.append(Paragraph(f"Trial {row.trial}: {scored} {row.score:.4f} ({metrics}){so_far}."))
        parts += [Paragraph(line) for line in caveats(board, [row])]
        paths, values = tuple(board.best), tuple(map(said, board.best.values()))
        chosen = [Column("parameter", paths, is_number=False), Column("value", values, is_number=False)]
        parts += [TablePart(chosen, "What the sampler chose for it")] if paths else []
    elif board.confirmed is None:
        parts.append(Paragraph("No trial has a score yet.", "empty"))
    sentence = "The config that this search hands over, and what may honestly be claimed of it."
    return Section("winner", "The winner and its claim", sentence, parts)


def leaderboard(search: Search) -> Section:
    """The trials from best to worst; above them those that were trained again."""
    board = search.board
    parts: list[SectionPart] = []
    if board.confirmed is not None and board.confirmed.rows:
        label = "Confirmed mean scores with their 95 % intervals"
        parts.append(_figure(drawing.as_json(drawing.intervals(board.confirmed)), label))
        parts.append(TablePart(columns(board.confirmed), "Trained again, with new seeds, on rows that no trial had seen"))
    if board.rows:
        shown = board.rows[:MOST_ROWS]
        hidden = len(board.rows) - len(shown)
        rest = f"; {hidden} more: python -m reports.leaderboard" if hidden else ""
        parts += [Paragraph(line) for line in caveats(board, board.rows)]
        parts.append(TablePart(fixed_columns(board.tasks, shown), f"{len(board.rows)} trials of the search{rest}"))
    else:
        parts.append(Paragraph("No trial has begun yet.", "empty"))
    return Section("leaderboard", "Leaderboard", RANKING, parts)


def progress(search: Search) -> Section:
    """The best score against time, and against budget."""
    found = best_so_far(search.header, search.records)
    sentence = (
        "The best score of a trial with its full budget, against the time that drivers worked and the examples all trials saw."
    )
    if not found.points:
        return Section("progress", "Best score so far", sentence, [Paragraph(_why_no_best(search), "empty")])
    last = found.points[-1]
    took = (
        f"The best, trial {last.trial} with {last.score:.4f}, ended after {duration(last.seconds)} and {last.examples:,} examples"
    )
    of = f"of {duration(found.seconds)} and {found.examples:,} until the last trial of the search ended."
    drawings = [
        Drawing(drawing.as_json(drawing.progress(found, by_budget=by_budget)), f"Best score against {what}")
        for by_budget, what in ((False, "time"), (True, "budget"))
    ]
    return Section("progress", "Best score so far", sentence, [Paragraph(f"{took} {of}"), Figures(drawings, is_wide=False)])


def learning_curves(search: Search) -> Section:
    """The curves of all trials."""
    found = curves(search.records)
    sentence = (
        "Each trial's score against the examples it has seen, by how it ended; dashed lines are rungs, where trials are compared."
    )
    if not found:
        return Section("curves", "Learning curves", sentence, [Paragraph("No trial has reported yet.", "empty")])
    rungs = rung_budgets(search.records, search.header.get("rungs") or ())
    parts: list[SectionPart] = [_figure(drawing.as_json(drawing.learning_curves(found, rungs)), sentence)]
    if any(row.dev_share < 1 for row in search.board.rows):
        parts.append(
            Paragraph("Reports before a trial's last are scored on part of dev, so that a last step up or down may be the rows'.")
        )
    if len(found) > drawing.MOST_CURVES:
        parts.append(Paragraph(f"Drawn are {drawing.MOST_CURVES} of {len(found)} curves, evenly from best to worst."))
    return Section("curves", "Learning curves", sentence, parts)


def tasks(search: Search) -> Section:
    """The tasks' Pareto front, and how they trade."""
    found = front(search.records, search.tasks)
    sentence = "The trials with their full budget task against task: on the front stand those that no other betters."
    if not found.points:
        return Section("tasks", "How the tasks trade", sentence, [Paragraph(_why_no_best(search), "empty")])
    if not found.trades:
        return Section("tasks", "How the tasks trade", sentence, [Paragraph("There is one task alone: nothing trades.", "empty")])
    drawings = [
        Drawing(drawing.as_json(drawing.trade(found, pair)), f"{found.tasks[pair.first]} against {found.tasks[pair.second]}")
        for pair in islice(found.trades, _MOST_PAIRS)
    ]
    told = Paragraph(f"{found.num_best} of {len(found.points)} trials stand on the front. {' '.join(_trades(found))}")
    return Section("tasks", "How the tasks trade", sentence, [told, Figures(drawings, is_wide=False)])


def _handed_over(row: ConfirmedRow) -> str:
    note = ", which all trials start from" if row.trial is None else ""
    return f"Handed over is {config_in_words(row.trial)}{note}, trained again as trials {', '.join(map(str, row.trainings))}."


def _why_no_best(search: Search) -> str:
    is_partly = any(record.state == "complete" for record in searched(search.records))
    return "No trial that trains every task has had its full budget." if is_partly else "No trial has had its full budget yet."


def _trades(found: Front) -> Sequence[str]:
    out = []
    for pair in found.trades:
        both = f"{found.tasks[pair.first]} and {found.tasks[pair.second]}"
        if pair.correlation is None:
            out.append(f"{both}: too few trials to tell.")
        else:
            how = "trade" if pair.correlation < -0.2 else "go together" if pair.correlation > 0.2 else "go each their own way"
            out.append(f"{both} {how} (rank correlation {pair.correlation:+.2f}).")
    return out


def _figure(json: str, label: str) -> Figures:
    return Figures([Drawing(json, label)])
