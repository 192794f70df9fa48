"""What is known of a trial, and which trial leads.  Plain values: no Optuna here."""

import datetime
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from search_spaces.space import Assignment
from trainables.tasks import best_report

State = Literal["running", "complete", "stopped", "failed", "interrupted"]
Ending = Literal["complete", "stopped", "failed"]
Reason = Literal["", "diverged", "out_of_memory", "hung", "error", "lost"]
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Confirms:
    """What a trial trains again, so that it is no trial of the search.

    Attributes:
        trial: number of the trial of the search whose config it is; None: the reference.
        repeat: which of its new seeds, from 0.
    """

    trial: int | None
    repeat: int


@dataclass(frozen=True)
class TrialRecord:
    """What the ledger knows of one trial.

    Attributes:
        number: 0, 1, 2, ... in the order of asking.
        state: `running` also stands for an interrupted trial until somebody who knows better says so (see `Ledger.records`).
        assignment: what the sampler chose; empty where the ask was cut short.
        config: the resolved config as plain values; empty where the ask was cut short.
        reports: acknowledged reports by budget, each with all its metrics.
        passed_rungs: indices of the reports at which it was let go on.
        audited: the report at which it would have been stopped, had it not been drawn to run on (`tuner.audit`); None: neither.
        confirms: what it trains again; None: it is a trial of the search.
        micro_batch_size: examples of a batch that it computes at once since it ran out of memory; None: it has not.
        reason: why it failed, else empty; `detail` says more in a line.
        started, ended: when it was asked and told; `ended` is None while it runs.
    """

    number: int
    state: State
    assignment: Assignment
    config: dict[str, Any]
    reports: tuple[Report, ...]
    passed_rungs: frozenset[int] = frozenset()
    audited: int | None = None
    confirms: Confirms | None = None
    micro_batch_size: int | None = None
    reason: Reason = ""
    detail: str = ""
    lineage: dict[str, Any] = field(default_factory=dict)
    started: datetime.datetime | None = None
    ended: datetime.datetime | None = None

    @property
    def best_report(self) -> Report | None:
        """The report whose model is the trial's result (see `trainables.tasks.best_report`)."""
        return best_report(self.reports)

    @property
    def applied(self) -> dict[str, Any] | None:
        """What its first step really trained with (see `trainables.applied`); None before its first report."""
        return self.reports[0].get("applied") if self.reports else None

    @property
    def score(self) -> float | None:
        """Score of the best report, or None before the first."""
        best = self.best_report
        return float(best["score"]) if best else None

    @property
    def trains_every_task(self) -> bool:
        """False where a head stays as it began, as in a row that teaches one task: its score says nothing of the others."""
        trained = {task for phase in self.config.get("phases", ()) for task in phase["tasks"]}
        return set(self.config.get("heads", ())) <= trained

    @property
    def budget_used(self) -> int:
        """Training examples up to the last report."""
        return int(self.reports[-1]["budget"]) if self.reports else 0

    @property
    def train_seconds(self) -> float:
        """Seconds spent in training steps, summed over the reports."""
        return float(sum(report["train_seconds"] for report in self.reports))


def report_seconds(report: Report) -> float:
    """Seconds that training and scoring took for one report; of older ledgers what is known of it."""
    return float(report.get("train_seconds", 0.0)) + float(report.get("eval_seconds", 0.0))


def name_in_words(trial: int | None) -> str:
    """What a person calls a trial of the search; None: the config that all start from."""
    return "the reference" if trial is None else f"trial {trial}"


def config_in_words(trial: int | None) -> str:
    """What a person calls the config of a trial of the search; None: the one that all start from."""
    return "the reference config" if trial is None else f"trial {trial}'s config"


def searched_rows(confirm_share: float) -> str:
    """The rows of dev that trials are scored on, where a share of them is kept to confirm with."""
    return "the search part of dev" if confirm_share else "dev"


def judged_score(report: Report) -> float:
    """The score that an interval is of: on the rows that were kept, where there is one, else on those that are searched by."""
    return float((report.get("confirm") or report)["score"])


def standing(record: TrialRecord) -> tuple[int, bool, bool, float, int]:
    """A key that sorts trials from best to worst.

    Trials that may win come first, then failed ones, then those without a report.  Among them those that train every task come
    first, of these those with their full budget, then all that were stopped or may still get there, each by score.  Of equals,
    the earlier.
    """
    score, partly, unfinished = record.score, not record.trains_every_task, record.state != "complete"
    if score is None or not math.isfinite(score):
        return 2, partly, unfinished, math.inf, record.number
    return int(record.state == "failed"), partly, unfinished, -score, record.number


def rank(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials of the search that lead it, best first: those with a score that did not fail."""
    return sorted((record for record in searched(records) if standing(record)[0] == 0), key=standing)


def searched(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials of the search, without those that confirm others."""
    return [record for record in records if record.confirms is None]
