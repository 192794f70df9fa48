"""Courses of trials for a simulation: what they take as it was timed or as past trials took, scores as past curves or drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainables.config import TrialConfig
from trainables.timed import TimedTrial
from tuner.plan_corners import CostModel, guessed_cost
from tuner.plan_simulation import Course
from tuner.records import TrialRecord

LEAST_PAST = 4
"""Past trials with reports from which on new ones are expected to go as they did."""


@dataclass(frozen=True)
class Costs:
    """What any trial of a search takes, by what some of them were timed to take.

    Attributes:
        model: seconds of an example, by the guess.
        begin_seconds, scoring_seconds_per_row, checkpoint_seconds: medians of those timed.
        num_layers: of the encoder.
        dev_rows: over all tasks.
    """

    model: CostModel
    begin_seconds: float
    scoring_seconds_per_row: float
    checkpoint_seconds: float
    num_layers: int
    dev_rows: int

    @classmethod
    def of(cls, configs: Mapping[str, TrialConfig], timed: Mapping[str, TimedTrial], num_layers: int, dev_rows: int) -> "Costs":
        """From some timed trials, at least one."""
        guesses = [guessed_cost(configs[name], num_layers) for name in timed]
        values = timed.values()
        return cls(
            model=CostModel(guesses, [trial.seconds_per_example for trial in values]),
            begin_seconds=float(np.median([trial.begin_seconds for trial in values])),
            scoring_seconds_per_row=float(np.median([trial.scoring_seconds_per_row for trial in values])),
            checkpoint_seconds=float(np.median([trial.checkpoint_seconds for trial in values])),
            num_layers=num_layers,
            dev_rows=dev_rows,
        )

    def course(self, config: TrialConfig, timed: TimedTrial | None = None) -> Course:
        """The course of a trial with its full budget, scores still to be filled in.

        Args:
            config: with its budget.
            timed: what this very trial was timed to take; None: by the model.
        """
        assert config.budget_examples is not None, "a search's configs have their budget"
        guess = guessed_cost(config, self.num_layers)
        per_example = self.model.seconds_per_example(guess) if timed is None else timed.seconds_per_example
        per_row = self.scoring_seconds_per_row if timed is None else timed.scoring_seconds_per_row
        checkpoint = self.checkpoint_seconds if timed is None else timed.checkpoint_seconds
        due = [round(number * config.budget_examples / config.num_reports) for number in range(config.num_reports + 1)]
        scoring = per_row * self.dev_rows
        shares = [config.early_dev_share] * (config.num_reports - 1) + [1.0]
        seconds = [
            (end - start) * per_example + share * scoring + checkpoint
            for start, end, share in zip(due, due[1:], shares, strict=False)
        ]
        return Course(self.begin_seconds, tuple(seconds), (0.0,) * config.num_reports)


def past_courses(records: Sequence[TrialRecord], costs: Costs, num_reports: int, early_dev_share: float) -> list[Course]:
    """Past trials as they went, those that ended early as if they had gone on as they were; failed ones tell nothing."""
    out = []
    for record in records:
        if record.state == "failed" or not record.reports or record.reports[-1]["report"] > num_reports:
            continue
        training = [float(report.get("train_seconds", 0.0)) for report in record.reports]
        scoring = [float(report.get("eval_seconds", 0.0)) for report in record.reports]
        of_dev = [float(report.get("dev_share", 1.0)) for report in record.reports]
        whole = sum(scoring) / sum(of_dev)  # of all of dev
        seconds = [a + b + costs.checkpoint_seconds for a, b in zip(training, scoring, strict=True)]
        for number in range(len(seconds), num_reports):
            share = 1.0 if number == num_reports - 1 else early_dev_share
            seconds.append(float(np.mean(training)) + share * whole + costs.checkpoint_seconds)
        scores = [float(report["score"]) for report in record.reports]
        scores += scores[-1:] * (num_reports - len(scores))
        out.append(Course(costs.begin_seconds, tuple(seconds), tuple(scores), record.number))
    return out


def as_taken_up(records: Sequence[TrialRecord], num_reports: int) -> list[TrialRecord]:
    """The records as a driver takes them up (`tuner.referee`): who has all reports has ended, though nobody lived to be told."""
    return [
        replace(record, state="complete")
        if record.state in ("running", "interrupted") and record.reports and record.reports[-1]["report"] >= num_reports
        else record
        for record in records
    ]


def unfinished_courses(records: Sequence[TrialRecord], past: Sequence[Course]) -> list[Course]:
    """The trials that were begun and have not ended, from where they stand; those without a report begin anew."""
    known = {course.number: course for course in past}
    return [
        replace(known[record.number], reports_done=len(record.reports), is_audited=record.audited is not None)
        for record in records
        if record.state in ("running", "interrupted") and record.number in known
    ]


def drawing(
    num_known: int,
    courses: Sequence[Course],
    *,
    past: Sequence[Course],
    unfinished: Sequence[Course],
    num_new: int,
    first_number: int,
) -> Callable[[np.random.Generator], list[Course]]:
    """A function that draws the courses of one search.

    Args:
        num_known: of the courses, the first ones, are those of the very trials to come; others are drawn, with replacement.
        courses: of trials of the space, as timed.
        past: trials of the same search; from `LEAST_PAST` on new ones go as one of them, drawn with replacement.
        unfinished: trials to go on with, first of all.
        num_new: trials that are still to be begun.
        first_number: of these.
    """

    def draw(rng: np.random.Generator) -> list[Course]:
        known = min(num_known, num_new, len(courses))
        places = [*range(known), *rng.integers(len(courses), size=num_new - known).tolist()]
        qualities = rng.random(num_new)
        new = [
            replace(courses[place], scores=(q,) * len(courses[place].scores)) for place, q in zip(places, qualities, strict=True)
        ]
        if len(past) >= LEAST_PAST:
            new = [past[place] for place in rng.integers(len(past), size=num_new).tolist()]
        return [*unfinished, *(replace(course, number=first_number + number) for number, course in enumerate(new))]

    return draw
