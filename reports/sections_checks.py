"""Sections that check: early stopping, failures, the winner's mistakes, conflicts of gradients, plan against fact, lineage."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from os.path import relpath
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reports import drawing
from reports.curves import conflict_curves
from reports.early_stopping import EarlyStopping, early_stopping
from reports.failures import Failure, failures
from reports.mistakes import Confusion, WrongRows, read_mistakes
from reports.page import Drawing, Figures, Link, Paragraph, Section, SectionPart, TablePart
from reports.search import Search
from tuner.plan_fact import PlannedFact, is_as_planned, num_ended, plan_beside_fact, plan_in
from tuner.plan_text import count, duration, hours
from tuner.records import config_in_words
from tuner.room import in_words
from tuner.tables import Column

MOST_FAILURES, _MOST_AUDITED = 200, 50
_UNITS: Mapping[str, Callable[[float], str]] = {
    "seconds": duration,
    "hours": hours,
    "bytes": lambda value: in_words(int(value)),
    "trials": count,
}


def audit(search: Search) -> Section:
    """What early stopping did, and whether it was right."""
    rungs = tuple(search.header.get("rungs") or ())
    title = "Was early stopping right?"
    sentence = "What ASHA stopped, what that saved, and how the trials did that it would have stopped but that were let run on."
    if not rungs or search.board.full_budget is None:
        why = "The search was run without early stopping." if not rungs else "Its trials have no one full budget."
        return Section("early-stopping", title, sentence, [Paragraph(why, "empty")])
    found = early_stopping(search.records, rungs, search.board.full_budget, int(search.settings.get("confirm") or 4))
    rows = found.rungs
    table = [
        Column("rung after report", tuple(str(row.report) for row in rows)),
        Column("compared", tuple(str(row.reached) for row in rows)),
        Column("went on", tuple(str(row.went_on) for row in rows)),
        Column("survival", tuple(f"{row.survival:.0%}" for row in rows)),
        Column("audited", tuple(str(row.audited) for row in rows)),
        Column("rank correlation with the end", tuple("-" if r.correlation is None else f"{r.correlation:+.2f}" for r in rows)),
        Column("of trials", tuple(str(row.num_pairs) for row in rows)),
    ]
    saved = f"{found.num_stopped} trials were stopped, which saved {found.saved:.0%} of the examples."
    of_whom = (
        "The rank correlation is of the trials that came to their end, most of which the rung itself had chosen; "
        "over all trials, with the bad ones, it is likely higher."
    )
    parts: list[SectionPart] = [Paragraph(saved), TablePart(table, "Rungs"), Paragraph(of_whom)]
    if not found.audited:
        parts.append(
            Paragraph("No trial that would have been stopped was drawn to run on, so nothing tells what was missed.", "empty")
        )
        return Section("early-stopping", title, sentence, parts)
    shown = found.audited[:_MOST_AUDITED]
    audited = [
        Column("trial", tuple(str(trial.trial) for trial in shown)),
        Column("would have been stopped after report", tuple(str(trial.stopped_at) for trial in shown)),
        Column("score at its end", tuple("-" if trial.score is None else f"{trial.score:.4f}" for trial in shown)),
        Column("rank", tuple("-" if trial.rank is None else str(trial.rank) for trial in shown)),
        Column("state", tuple(trial.state for trial in shown), is_number=False),
    ]
    return Section("early-stopping", title, sentence, [*parts, Paragraph(_missed(found)), TablePart(audited, "Audited trials")])


def failed(search: Search, out: Path) -> Section:
    """Failures by reason, each with links to its logs.

    Args:
        search: whose they are.
        out: the page's file, from which links lead.
    """
    found = failures(search.records, search.folder)
    sentence = "Trials that failed, by reason, each with what it said last and its log."
    if not found.trials:
        return Section("failures", "Failures", sentence, [Paragraph(f"None of {found.num_trials} trials has failed.", "empty")])
    reasons, counts = zip(*found.by_reason, strict=True)
    by_reason = [Column("reason", reasons, is_number=False), Column("trials", tuple(map(str, counts)))]
    shown = found.trials[:MOST_FAILURES]
    each = [
        Column("trial", tuple(str(one.trial) for one in shown)),
        Column("reason", tuple(one.reason for one in shown), is_number=False),
        Column("examples", tuple(f"{one.budget:,}" for one in shown)),
        Column("what it said", tuple(one.detail or "-" for one in shown), is_number=False),
    ]
    links = [_links(one, search.folder, out) for one in shown]
    hidden = len(found.trials) - len(shown)
    caption = "Each" + (f"; {hidden} more stand in the ledger" if hidden else "")
    return Section(
        "failures",
        "Failures",
        sentence,
        [
            Paragraph(f"{len(found.trials)} of {found.num_trials} trials failed."),
            TablePart(by_reason, "By reason"),
            TablePart(each, caption, links),
        ],
    )


def mistakes(search: Search) -> Section:
    """What the exported model gets wrong on dev."""
    found = read_mistakes(search.folder, search.tasks, search.data, search.header.get("data_hashes") or {})
    title, sentence = "What the winner gets wrong", "Predictions of the exported model on all of dev, beside the labels."
    parts: list[SectionPart] = []
    if found.trial is not None:
        parts.append(Paragraph(f"The exported model is that of trial {found.trial}{_trained_again(search, found.trial)}."))
    for one in found.confusions:
        parts.append(Paragraph(f"{one.title}: rows by true label and prediction. {_recalls(one)}"))
        parts.append(Figures([Drawing(drawing.as_json(drawing.confusion(one)), f"{one.title}: confusion", is_broad=True)]))
    for spread in found.scatters:
        parts.append(Paragraph(f"{spread.title}: the label of each row and what is predicted; on the dashed line it is right."))
        parts.append(Figures([Drawing(drawing.as_json(drawing.scatter(spread)), f"{spread.title}: labels and predictions")]))
    for rows in found.worst:
        parts += _worst(rows)
    parts += [Paragraph(line, "empty") for line in found.missing]
    return Section("mistakes", title, sentence, parts)


def conflicts(search: Search) -> Section:
    """Conflicts of the tasks' gradients, where PCGrad ran."""
    found = conflict_curves(search.records)
    title = "Gradient conflicts"
    sentence = (
        "Where PCGrad ran: the share of pairs of tasks whose gradients point against each other, over each trial's training."
    )
    if not found:
        return Section("conflicts", title, sentence, [Paragraph("PCGrad ran in no trial.", "empty")])
    names = sorted({task for curve in found for task in curve.changes})
    table = [
        Column("trial", tuple(str(curve.trial) for curve in found)),
        Column("mean share in conflict", tuple(f"{sum(curve.shares) / len(curve.shares):.1%}" for curve in found)),
        *(
            Column(f"change of {name}", tuple(f"{curve.changes[name]:+.3f}" if name in curve.changes else "-" for curve in found))
            for name in names
        ),
    ]
    figure = Figures([Drawing(drawing.as_json(drawing.conflicts(found)), sentence)])
    return Section("conflicts", title, sentence, [figure, TablePart(table, "How the projection changed each task's descent")])


def planned(search: Search) -> Section:
    """Plan against fact."""
    title, sentence = "Plan against fact", "What the plan expected before the search began, beside what happened."
    try:
        plan = plan_in(search.header)
    except ValueError as error:
        return Section("plan", title, sentence, [Paragraph(f"The plan in the ledger cannot be read: {error}", "empty")])
    if plan is None:
        why = "The search was begun without a plan (tuner.search --plan-first keeps one)."
        return Section("plan", title, sentence, [Paragraph(why, "empty")])
    facts = plan_beside_fact(plan, search.records, search.header)
    table = [
        Column("", tuple(fact.name for fact in facts), is_number=False),
        Column("planned", tuple(_said(fact, fact.planned.middle) for fact in facts)),
        Column("range", tuple(f"{_said(f, f.planned.low)} to {_said(f, f.planned.high)}" for f in facts)),
        Column("fact", tuple("-" if fact.fact is None else _said(fact, fact.fact) for fact in facts)),
        Column("in range", tuple({None: "-", True: "yes", False: "no"}[fact.is_within] for fact in facts), is_number=False),
    ]
    whole = is_as_planned(plan, search.records, search.header)
    until = "" if whole else " No figure is held against its range but those of a search that has ended with as many as planned."
    trials = f"The plan was made for {plan.trials} trials; {num_ended(search.records)} have ended.{until}"
    return Section("plan", title, sentence, [Paragraph(trials), TablePart(table)])


def lineage(search: Search) -> Section:
    """Where all of it comes from."""
    header = search.header
    tree = {key: header.get(key) for key in ("id", "lineage", "data_hashes", "encoder_sha256", "settings") if header.get(key)}
    pairs = list(_flat(tree))
    if not pairs:
        why = "The ledger does not say."
        return Section("lineage", "Lineage", "Code, packages, machine, data and settings.", [Paragraph(why, "empty")])
    names, values = zip(*pairs, strict=True)
    table = [Column("what", names, is_number=False), Column("value", values, is_number=False)]
    sentence = "Code, packages, machine, data by their sums, and settings that this search was made with."
    return Section("lineage", "Lineage", sentence, [TablePart(table)])


def _missed(found: EarlyStopping) -> str:
    """What became of the audited trials, in a sentence or two."""
    num_ended = sum(trial.rank is not None for trial in found.audited)
    states = Counter(trial.state for trial in found.audited if trial.rank is None)
    without = ", ".join(f"{number} {state}" for state, number in states.items())
    if not num_ended:
        return f"No audited trial has had its full budget ({without}), so nothing tells what was missed."
    besides = f" Not counted, for want of their full budget: {without}." if without else ""
    if found.bar is None:
        return f"No other trial has had its full budget, so nothing tells whether an audited one was missed.{besides}"
    missed = f"Early stopping would have missed {found.num_missed} of {num_ended} audited trials: those that scored above"
    if found.num_others >= found.top:
        return f"{missed} number {found.top} of the trials that were not audited.{besides}"
    only = f"only {found.num_others} {'trial' if found.num_others == 1 else 'trials'} had the full budget"
    return f"{missed} the best of the trials that were not audited ({only}).{besides}"


def _links(one: Failure, folder: Path, out: Path) -> list[Link]:
    here = out.resolve().parent
    return [Link(path.name, quote(relpath((folder / path).resolve(), here))) for path in one.logs]


def _trained_again(search: Search, trial: int) -> str:
    """Whose config a trial trains again; empty of one of the search."""
    confirms = next((record.confirms for record in search.records if record.number == trial), None)
    if confirms is None:
        return ""
    return f", which trains {config_in_words(confirms.trial)} again with a new seed"


def _recalls(one: Confusion) -> str:
    found = [(name, recall) for name, recall in zip(one.names, one.recalls, strict=True) if recall is not None]
    return f"Found of each: {', '.join(f'{name} {recall:.0%}' for name, recall in found)}."


def _worst(rows: WrongRows) -> list[SectionPart]:
    if not rows.rows:
        return [Paragraph(f"{rows.title}: no row is predicted wrong.")]
    num_texts = max(len(row.texts) for row in rows.rows)
    table = [
        Column("label", tuple(row.label for row in rows.rows), is_number=False),
        Column("predicted", tuple(row.predicted for row in rows.rows), is_number=False),
        Column("P(yes)", tuple("-" if row.probability is None else f"{row.probability:.3f}" for row in rows.rows)),
        *(
            Column(f"text {place + 1}", tuple(row.texts[place] if row.texts else "-" for row in rows.rows), is_number=False)
            for place in range(num_texts)
        ),
        Column("id", tuple(row.id for row in rows.rows), is_number=False),
    ]
    which = "the rows it gets wrong and is surest of" if rows.is_ranked else "rows it gets wrong, as they come in the file"
    return [TablePart(table, f"{rows.title}: {which}")]


def _said(fact: PlannedFact, value: float) -> str:
    return _UNITS[fact.unit](value)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
