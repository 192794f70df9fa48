"""What early stopping did, and whether it was right: rungs, the trials that were let run on all the same, what was saved.

Rank correlations are Spearman's, between a trial's score at a rung and at its end, over all trials that have both: those that
went on, which were chosen by the former, and those that were audited, which were not.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from reports.beside_paper import rank_correlation
from tuner.records import TrialRecord, rank, searched


@dataclass(frozen=True)
class RungRow:
    """One rung.

    Attributes:
        report: at which trials are compared.
        reached: trials that have been compared there.
        went_on: of these, on their merits.
        audited: of the others, drawn to run on.
        correlation: of scores there and at the end, in [-1, 1]; None of fewer than three trials, or where all are alike.
        num_pairs: trials that it is of.
    """

    report: int
    reached: int
    went_on: int
    audited: int
    correlation: float | None
    num_pairs: int

    @property
    def survival(self) -> float:
        """Share of those compared that went on, in [0, 1]; 0 where none was."""
        return self.went_on / self.reached if self.reached else 0.0


@dataclass(frozen=True)
class AuditedTrial:
    """A trial that would have been stopped.

    Attributes:
        trial: its number.
        stopped_at: the report after which.
        score: at its end; None where it did not come there.
        rank: among all that had their full budget, from 1; None likewise.
    """

    trial: int
    stopped_at: int
    score: float | None
    rank: int | None


@dataclass(frozen=True)
class EarlyStopping:
    """What early stopping did.

    Attributes:
        rungs: in their order; empty without early stopping.
        audited: in the order of their numbers.
        num_stopped: trials that were stopped.
        top: what counts as among the best.
        examples: training examples that all trials of the search saw.
        examples_without: what they would have seen, had none been stopped.
    """

    rungs: tuple[RungRow, ...]
    audited: tuple[AuditedTrial, ...]
    num_stopped: int
    top: int
    examples: int
    examples_without: int

    @property
    def num_missed(self) -> int:
        """Audited trials that came among the best."""
        return sum(trial.rank is not None and trial.rank <= self.top for trial in self.audited)

    @property
    def saved(self) -> float:
        """Share of the examples that early stopping saved, in [0, 1]."""
        return 1 - self.examples / self.examples_without if self.examples_without else 0.0


def early_stopping(records: Sequence[TrialRecord], rungs: Sequence[int], full_budget: int, top: int) -> EarlyStopping:
    """What early stopping did in a search.

    Args:
        records: all trials.
        rungs: the reports at which trials are compared.
        full_budget: training examples of a whole trial.
        top: what counts as among the best: how many are confirmed.
    """
    trials = searched(records)
    places = {trial.number: place for place, trial in enumerate((t for t in rank(trials) if t.state == "complete"), start=1)}
    saved = sum(full_budget - trial.budget_used for trial in trials if trial.state == "stopped")
    examples = sum(trial.budget_used for trial in trials)
    return EarlyStopping(
        rungs=tuple(_rung(trials, rung) for rung in rungs),
        audited=tuple(
            AuditedTrial(trial.number, trial.audited, trial.score if trial.number in places else None, places.get(trial.number))
            for trial in trials
            if trial.audited is not None
        ),
        num_stopped=sum(trial.state == "stopped" for trial in trials),
        top=top,
        examples=examples,
        examples_without=examples + saved,
    )


def _rung(trials: Sequence[TrialRecord], rung: int) -> RungRow:
    compared = [trial for trial in trials if _score_at(trial, rung) is not None and (trial.audited or rung) >= rung]
    judged = [trial for trial in compared if rung in trial.passed_rungs or trial.audited == rung or trial.state != "running"]
    pairs = [
        (score, trial.score)
        for trial in trials
        if trial.state == "complete" and (score := _score_at(trial, rung)) is not None and trial.score is not None
    ]
    return RungRow(
        report=rung,
        reached=len(judged),
        went_on=sum(rung in trial.passed_rungs for trial in judged),
        audited=sum(trial.audited == rung for trial in judged),
        correlation=rank_correlation(pairs),
        num_pairs=len(pairs),
    )


def _score_at(trial: TrialRecord, report: int) -> float | None:
    found = itertools.islice((float(r["score"]) for r in trial.reports if r.get("report") == report), 1)
    return next(found, None)
