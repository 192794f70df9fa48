"""What early stopping did, and whether it was right: rungs, the trials that were let run on all the same, what was saved.

Rank correlations are Spearman's, between a trial's score at a rung and at its end, over all trials that have both: those that
went on, which were chosen by the former, and those that were audited, which were not.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from reports.beside_paper import rank_correlation
from tuner.records import State, TrialRecord, rank, searched, standing


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
        state: how it ended, or that it runs.
        is_missed: it betters the trial at `EarlyStopping.bar`, so that stopping it would have been wrong.
    """

    trial: int
    stopped_at: int
    score: float | None
    rank: int | None
    state: State
    is_missed: bool


@dataclass(frozen=True)
class EarlyStopping:
    """What early stopping did.

    Attributes:
        rungs: in their order; empty without early stopping.
        audited: in the order of their numbers.
        num_stopped: trials that were stopped.
        top: what counts as among the best.
        num_others: trials with their full budget that were not audited: what audited ones are measured by.  Measured by each
            other, too, one of a search with fewer than `top` others would be among the best whatever it scores.
        bar: which of the others, from the best as 1, an audited trial must better to count as missed: the `top`-th; of fewer the
            best, for to better the worst of a few says little; None: there are none.
        examples: training examples that all trials of the search saw.
        examples_without: what they would have seen, had none been stopped.
    """

    rungs: tuple[RungRow, ...]
    audited: tuple[AuditedTrial, ...]
    num_stopped: int
    top: int
    num_others: int
    bar: int | None
    examples: int
    examples_without: int

    @property
    def num_missed(self) -> int:
        """Audited trials that early stopping would have been wrong to stop."""
        return sum(trial.is_missed for trial in self.audited)

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
    complete = [trial for trial in rank(trials) if trial.state == "complete"]
    places = {trial.number: place for place, trial in enumerate(complete, start=1)}
    others = [trial for trial in complete if trial.audited is None]
    bar = top if len(others) >= top else 1 if others else None
    at_bar = None if bar is None else others[bar - 1]
    saved = sum(full_budget - trial.budget_used for trial in trials if trial.state == "stopped")
    examples = sum(trial.budget_used for trial in trials)
    return EarlyStopping(
        rungs=tuple(_rung(trials, rung) for rung in rungs),
        audited=tuple(
            AuditedTrial(
                trial=trial.number,
                stopped_at=trial.audited,
                score=trial.score if trial.number in places else None,
                rank=places.get(trial.number),
                state=trial.state,
                is_missed=trial.number in places and at_bar is not None and _betters(trial, at_bar),
            )
            for trial in trials
            if trial.audited is not None
        ),
        num_stopped=sum(trial.state == "stopped" for trial in trials),
        top=top,
        num_others=len(others),
        bar=bar,
        examples=examples,
        examples_without=examples + saved,
    )


def _betters(trial: TrialRecord, other: TrialRecord) -> bool:
    """Whether it stands above the other, and not only for being the earlier of equals."""
    return standing(trial)[:-1] < standing(other)[:-1]


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
