"""ASHA's rungs: which trial goes on, decided from what the ledger holds.

Asynchronous successive halving in its stopping form (Li et al. 2020, "A System for Massively Parallel Hyperparameter
Tuning", https://arxiv.org/abs/1810.05934; the stopping form is Ray Tune's and Syne Tune's): at each rung a trial goes
on if it stands among the best 1/eta of all that have reached that rung so far, and at least one does. Departures: the
cut counts ranks instead of interpolating a percentile; a score that is no number never goes on; what was once decided
stays decided, so that a report heard twice changes nothing.
"""

import bisect
import math
from collections.abc import Iterable

from tuner.records import TrialRecord


def rung_reports(num_reports: int, reduction_factor: int) -> tuple[int, ...]:
    """The reports at which trials are compared: the last report divided by eta, eta^2, ..., down to the first.

    `rung_reports(9, 3)` is `(1, 3)`.  The last report itself is no rung: who reaches it is complete.
    """
    rungs = set()
    share = num_reports / reduction_factor
    while round(share) >= 1:
        rungs.add(round(share))
        share /= reduction_factor
    return tuple(sorted(rung for rung in rungs if rung < num_reports))


class Rungs:
    """The scores seen at each rung.

    Args:
        reports: indices of the reports that are rungs, as `rung_reports` gives them; empty: nobody is ever stopped.
        reduction_factor: eta.
    """

    def __init__(self, reports: Iterable[int], reduction_factor: int) -> None:
        self._scores: dict[int, dict[int, float]] = {report: {} for report in reports}
        self._ordered: dict[int, list[float]] = {report: [] for report in self._scores}  # numbers alone, for thousands of trials
        self._decisions: dict[tuple[int, int], bool] = {}
        self._reduction_factor = reduction_factor

    @classmethod
    def from_records(cls, records: Iterable[TrialRecord], reports: Iterable[int], reduction_factor: int) -> "Rungs":
        """The rungs as they stood when these records were written.

        A report at a rung that was neither passed nor the reason of a stop was not judged yet; it is left out, to be judged now.
        """
        rungs = cls(reports, reduction_factor)
        for record in records:
            compared = (r for r in record.reports if record.audited is None or r["report"] <= record.audited)
            for report in compared:
                passed = report["report"] in record.passed_rungs
                if passed or record.state != "running" or report["report"] == record.audited:
                    rungs._remember(record.number, report["report"], float(report["score"]), goes_on=passed)
        return rungs

    def goes_on(self, number: int, report: int, score: float) -> bool:
        """Whether trial `number` goes on after its `report`-th report; always True between rungs."""
        scores = self._scores.get(report)
        if scores is None:
            return True
        if (number, report) not in self._decisions:
            places = max(1, (len(scores) + 1) // self._reduction_factor)
            ordered = self._ordered[report]
            better = len(ordered) - bisect.bisect_right(ordered, score)
            self._remember(number, report, score, goes_on=not math.isnan(score) and better < places)
        return self._decisions[number, report]

    def table(self) -> list[tuple[int, int, int, float | None]]:
        """A row a rung: report, trials that reached it, trials that went on, best score."""
        return [
            (
                report,
                len(scores),
                sum(self._decisions[number, report] for number in scores),
                max(scores.values(), default=None),
            )
            for report, scores in ((report, dict(scores)) for report, scores in self._scores.items())
        ]

    def _remember(self, number: int, report: int, score: float, *, goes_on: bool) -> None:
        if report in self._scores:
            self._decisions[number, report] = goes_on  # first: a display that reads meanwhile looks up what it finds scored
            if number not in self._scores[report] and not math.isnan(score):
                bisect.insort(self._ordered[report], score)
            self._scores[report][number] = score
