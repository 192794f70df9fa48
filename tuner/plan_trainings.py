"""What follows a search in its simulation: the trainings that confirm its best (`tuner.confirm`), as courses of their own."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from trainables.config import TrialConfig
from tuner.confirm import config_of, is_confirmed, is_search_over, missing, not_begun, num_held, seconds_kept
from tuner.plan_courses import Costs, past_courses
from tuner.plan_simulation import Afterwards, Course
from tuner.records import Confirms, TrialRecord, report_seconds, searched
from tuner.settings import SearchSettings


def confirmation_after(records: Sequence[TrialRecord], settings: SearchSettings, base: TrialConfig, costs: Costs) -> Afterwards:
    """The trainings to come: those that were begun and cut short, then those that nobody has begun.

    Once the search is over these are known; until then they are of the reference and of the best in each simulated search, fewer
    where fewer trials than are to be confirmed came to their end.

    Args:
        records: all trials, those that confirm included.
        settings: of the search.
        base: the config under every trial.
        costs: of any trial.
    """
    if not is_confirmed(settings, base):
        return Afterwards()
    known = {course.number: course for course in past_courses(records, costs, base.num_reports, base.early_dev_share)}
    again = [record for record in records if record.confirms is not None]
    trained = {record.confirms.trial: known[record.number] for record in again if record.confirms and record.number in known}

    def course_of(trial: int | None) -> Course:
        course = trained.get(trial) or (None if trial is None else known.get(trial))
        return course or costs.course(config_of(Confirms(trial, 0), records, base, settings.seed))

    cut_short = [
        replace(known.get(record.number) or course_of(record.confirms.trial), reports_done=len(record.reports))
        for record in again
        if record.confirms and record.state in ("running", "interrupted")
    ]
    if is_search_over(records, settings):
        fixed = [*cut_short, *(course_of(confirms.trial) for confirms in missing(records, settings, base))]
        return Afterwards(lambda _complete: fixed)
    before = [known[record.number] for record in searched(records) if record.state == "complete" and record.number in known]
    num_complete = sum(record.state == "complete" for record in searched(records))

    def kept(full_seconds: float, workers: int, num_best: int) -> float:
        held = num_held(records, settings, base, num_open=workers)
        return seconds_kept(full_seconds, settings, workers, num_best=num_complete + num_best, num_held=held)

    return Afterwards(
        _of_the_best(settings, course_of(None), before, cut_short, again),
        kept,
        tuple(report_seconds(report) for record in records for report in record.reports),
    )


def _of_the_best(
    settings: SearchSettings,
    reference: Course,
    before: Sequence[Course],
    cut_short: Sequence[Course],
    again: Sequence[TrialRecord],
) -> Callable[[Sequence[Course]], Sequence[Course]]:
    """The trainings by the trials that came to their end in a simulated search, beside those that had come to it before."""

    def follow(complete: Sequence[Course]) -> Sequence[Course]:
        ordered = sorted([*before, *complete], key=lambda course: (math.isnan(course.scores[-1]), -course.scores[-1]))
        best = [replace(course, reports_done=0) for course in ordered[: settings.confirm]]
        wanted: dict[int | None, Course] = {None: reference} if best else {}
        wanted |= {course.number: course for course in best}
        return [*cut_short, *(wanted[one.trial] for one in not_begun(again, list(wanted), settings.confirm_seeds))]

    return follow
