"""A study beside its paper: the printed figures, ours, and whether the rows come in the same order.

Another encoder, other data and fewer examples move every figure; what may carry over is which row is better than which.  So
the rows' ranks are compared, by Spearman's correlation: 1 the same order, 0 none, -1 the reverse.
"""

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from search_spaces.study import ROW, Study, StudySpace, parse_space
from tuner.ledger import Ledger
from tuner.ledger_places import LedgerError
from tuner.records import TrialRecord
from tuner.search_folder import is_live
from tuner.tables import Column, align, draw

OVERALL = "overall"
_NO_DEPARTURE = ("budget_examples", "num_reports", "early_dev_share", "num_threads", "data.source")
"""Settings by hand that say nothing of how a row is trained, or are told elsewhere."""


@dataclass(frozen=True)
class ComparedRow:
    """One row of the table.

    Attributes:
        title: as the paper prints it.
        printed: metric -> the paper's figure.
        ours: metric -> the figure of each complete trial, in the order of the seeds.
    """

    title: str
    printed: dict[str, float]
    ours: dict[str, tuple[float, ...]]

    @property
    def num_trials(self) -> int:
        """Complete trials of the row."""
        return max(map(len, self.ours.values()), default=0)

    def mean(self, metric: str) -> float | None:
        """Mean of our figures; None before there is one.  Rounded, lest equal means differ in their last bit and are ranked."""
        return round(statistics.fmean(self.ours[metric]), 12) if self.ours.get(metric) else None


@dataclass(frozen=True)
class BesidePaper:
    """A study's table beside the paper's.

    Attributes:
        name, title, section: of the study.
        metrics: that the paper prints, `overall` last.
        overall: what `overall` is: `score`, or `mean_score`, the plain mean of the tasks' metrics.
        rows: in the paper's order.
        rank_correlation: metric -> Spearman's correlation over the rows that have both figures; None under three rows, or where
            one side is constant.
        num_ranked: metric -> how many rows that were.
        seed_spread: metric -> root mean square of the standard deviations between a row's seeds, over rows with a printed figure;
            None without two seeds.
        departures: what differs from the paper.
    """

    name: str
    title: str
    section: str
    metrics: tuple[str, ...]
    overall: str
    rows: tuple[ComparedRow, ...]
    rank_correlation: dict[str, float | None]
    num_ranked: dict[str, int]
    seed_spread: dict[str, float | None]
    departures: tuple[str, ...]


def read_beside_paper(folder: Path) -> BesidePaper:
    """The comparison of the study that was searched in a folder.

    Raises:
        LedgerError: no search there, or none over a study.
    """
    ledger = Ledger.read(folder)
    space = parse_space(ledger.header["space"]) if "space" in ledger.header else None
    if not isinstance(space, StudySpace):
        raise LedgerError(f"{folder}: this search has no study, so there is no paper to hold it against (tuner.search --study)")
    compared = compare(space.study, ledger.records(live=is_live(folder)))
    return replace(compared, departures=(*departures_of_search(space, ledger.header.get("base") or {}), *compared.departures))


def departures_of_search(space: StudySpace, base: Mapping[str, Any]) -> list[str]:
    """What differs from the paper by this search's own settings: how many examples, and what was set by hand in every row.

    Args:
        space: of the study.
        base: the search's config under the rows, as plain values; its budget is that of the table's longest row.
    """
    out, budget, longest = [], base.get("budget_examples"), space.study.longest
    if budget is not None and budget != longest:
        out.append(f"the longest row sees {budget:,} examples here" + (f", {longest:,} there" if longest else ""))
    by_hand = [f"{path}={value}" for path, value in space.by_hand.items() if path not in _NO_DEPARTURE]
    return out + ([f"set by hand in every row: {', '.join(by_hand)}"] if by_hand else [])


def compare(study: Study, records: Sequence[TrialRecord]) -> BesidePaper:
    """The study's figures in these records, complete trials alone, beside the printed ones."""
    printed = {metric for row in study.rows for metric in row.printed}
    metrics = (*(task.metric_key for task in study.tasks.tasks if task.metric_key in printed), *({OVERALL} & printed))
    keys = {metric: study.overall if metric == OVERALL else metric for metric in metrics}
    rows = []
    for row in study.rows:
        reports = [r.best_report for r in records if r.state == "complete" and r.assignment.get(ROW) == row.name]
        ours = {metric: tuple(float(report[keys[metric]]) for report in reports if report) for metric in metrics}
        rows.append(ComparedRow(row.title, dict(row.printed), ours))
    pairs = {metric: _pairs(rows, metric) for metric in metrics}
    return BesidePaper(
        name=study.name,
        title=study.title,
        section=study.section,
        metrics=metrics,
        overall=study.overall,
        rows=tuple(rows),
        rank_correlation={metric: rank_correlation(inner) for metric, inner in pairs.items()},
        num_ranked={metric: len(inner) for metric, inner in pairs.items()},
        seed_spread={metric: _seed_spread(rows, metric) for metric in metrics},
        departures=study.departures,
    )


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's correlation of the two sides, equal values sharing their mean rank.

    None under three pairs, or where a side is constant.
    """
    if len(pairs) < 3:
        return None
    from scipy.stats import spearmanr  # 1.5 seconds, which no search is to wait for

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant side is told by NaN, and by a warning
        value = float(spearmanr([one for one, _ in pairs], [other for _, other in pairs]).statistic)
    return value if math.isfinite(value) else None


def plain(compared: BesidePaper) -> str:
    """The comparison as aligned text."""
    return "\n".join([_heading(compared), "", *align(_columns(compared)), "", *_footer(compared)])


def render(compared: BesidePaper) -> RenderableType:
    """The comparison for a terminal."""
    table = draw(_columns(compared), ["" if row.num_trials else "dim" for row in compared.rows])
    heading = Text.from_markup(f"[bold]{escape(_heading(compared))}[/bold]")
    return Group(heading, "", table, "", *(Text(line) for line in _footer(compared)))


def _pairs(rows: Sequence[ComparedRow], metric: str) -> list[tuple[float, float]]:
    both = ((row.printed.get(metric), row.mean(metric)) for row in rows)
    return [(printed, ours) for printed, ours in both if printed is not None and ours is not None]


def _seed_spread(rows: Sequence[ComparedRow], metric: str) -> float | None:
    told = (row.ours[metric] for row in rows if metric in row.printed)
    variances = [statistics.variance(ours) for ours in told if len(ours) > 1]
    return math.sqrt(statistics.fmean(variances)) if variances else None


def _heading(compared: BesidePaper) -> str:
    return f"{compared.name}: {compared.title} ({compared.section})"


def _columns(compared: BesidePaper) -> list[Column]:
    columns = [Column("row", tuple(row.title for row in compared.rows), is_number=False)]
    for metric in compared.metrics:
        name = metric.partition("_")[0]
        columns += [
            Column(f"{name} paper", tuple(_figure(row.printed.get(metric)) for row in compared.rows)),
            Column("ours", tuple(_figure(row.mean(metric) if metric in row.printed else None) for row in compared.rows)),
        ]
    return [*columns, Column("trials", tuple(str(row.num_trials) for row in compared.rows))]


def _footer(compared: BesidePaper) -> list[str]:
    lines = ["order of the rows, ours against the paper's (Spearman's rank correlation: 1 the same, 0 none, -1 reversed):"]
    for metric in compared.metrics:
        value, number = compared.rank_correlation[metric], compared.num_ranked[metric]
        if value is None:
            told = f"not told: {number} rows have both figures, and three that differ are needed"
        else:
            told = f"{value:+.2f} over {number} rows"
        spread = compared.seed_spread[metric]
        lines.append(
            f"  {metric}: {told}" + (f"; seeds of one row lie {spread:.3f} apart (standard deviation)" if spread else "")
        )
    lines.append("ours: mean over the trials with their full budget, on all of dev")
    if OVERALL in compared.metrics:
        lines.append(f"overall: the paper's {compared.overall}")
    return lines + [f"differs from the paper: {sentence}" for sentence in compared.departures]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
