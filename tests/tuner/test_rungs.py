import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.records import TrialRecord
from tuner.rungs import Rungs, rung_reports

SCORES = st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=12)
ETA = st.integers(2, 4)


@given(st.integers(1, 200), st.integers(2, 10))
def test_rungs_lie_before_the_last_report_and_each_is_a_share_of_it(num_reports: int, eta: int) -> None:
    rungs = rung_reports(num_reports, eta)
    assert list(rungs) == sorted(set(rungs))
    assert all(1 <= rung < num_reports for rung in rungs)
    assert all(any(abs(rung - num_reports / eta**k) <= 0.5 for k in range(1, 9)) for rung in rungs)
    assert bool(rungs) == (num_reports / eta > 0.5)  # a half is rounded down, to no report at all


@pytest.mark.parametrize(
    ("num_reports", "eta", "rungs"),
    [(9, 3, (1, 3)), (8, 2, (1, 2, 4)), (1, 3, ()), (1, 2, ()), (2, 2, (1,)), (27, 3, (1, 3, 9)), (10, 3, (1, 3)), (4, 10, ())],
)
def test_rungs_of_some_searches(num_reports: int, eta: int, rungs: tuple[int, ...]) -> None:
    assert rung_reports(num_reports, eta) == rungs


@given(SCORES, ETA)
def test_in_any_order_of_arrival_the_best_so_far_goes_on_and_no_nan_does(scores: list[float], eta: int) -> None:
    rungs = Rungs([1], eta)
    best = -math.inf
    num_on = 0
    for number, score in enumerate(scores):
        goes_on = rungs.goes_on(number, 1, score)
        if math.isnan(score):
            assert not goes_on
        elif score >= best:
            assert goes_on
            best = score
        num_on += goes_on
    assert num_on >= any(not math.isnan(score) for score in scores)
    assert rungs.table() == [(1, len(scores), num_on, rungs.table()[0][3])]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20, unique=True), ETA)
def test_who_goes_on_stands_among_the_best_share_at_that_time(scores: list[float], eta: int) -> None:
    rungs = Rungs([1], eta)
    for number, score in enumerate(scores):
        rank = sorted(scores[: number + 1], reverse=True).index(score) + 1
        assert rungs.goes_on(number, 1, score) == (rank <= max(1, (number + 1) // eta))


@given(SCORES, ETA, st.floats(0, 1))
def test_what_was_decided_stays_decided(scores: list[float], eta: int, another: float) -> None:
    rungs = Rungs([1], eta)
    first = [rungs.goes_on(number, 1, score) for number, score in enumerate(scores)]
    table = rungs.table()
    assert [rungs.goes_on(number, 1, another) for number in range(len(scores))] == first
    assert str(rungs.table()) == str(table)  # as text: a NaN is not equal to itself


@given(st.integers(0, 50), st.floats(0, 1))
def test_between_the_rungs_all_go_on_and_are_not_counted(report: int, score: float) -> None:
    rungs = Rungs([2, 60], 3)
    if report != 2:
        assert rungs.goes_on(0, report, score)
    assert all(reached == 0 for _, reached, _, _ in rungs.table())


def test_the_cut_of_some_arrivals() -> None:
    rungs = Rungs([1], 3)
    decisions = [rungs.goes_on(number, 1, score) for number, score in enumerate((0.5, 0.4, 0.6, 0.55, 0.1, 0.58, 0.57))]
    assert decisions == [True, False, True, False, False, True, False]
    assert rungs.table() == [(1, 7, 3, 0.6)]


def test_ties_with_the_best_go_on() -> None:
    rungs = Rungs([1], 2)
    assert [rungs.goes_on(number, 1, 0.5) for number in range(3)] == [True] * 3


class Search:
    """Trials whose reports arrive in a given order; remembers them as the ledger would."""

    def __init__(self, curves: list[list[float]], eta: int) -> None:
        self.curves, self.eta = curves, eta
        self.reports: dict[int, list[dict[str, Any]]] = {}
        self.passed: dict[int, set[int]] = {}
        self.stopped: set[int] = set()
        self.rungs = Rungs(self.rung_reports, eta)

    @property
    def rung_reports(self) -> tuple[int, ...]:
        return rung_reports(len(self.curves[0]), self.eta)

    def arrive(self, number: int) -> None:
        """The next report of this trial, if it still runs."""
        index = len(self.reports.get(number, [])) + 1
        if number in self.stopped or index > len(self.curves[number]):
            return
        score = self.curves[number][index - 1]
        self.reports.setdefault(number, []).append({"report": index, "score": score})
        self.judge(number)

    def judge(self, number: int) -> None:
        last = self.reports[number][-1]
        if not self.rungs.goes_on(number, last["report"], last["score"]):
            self.stopped.add(number)
        elif last["report"] in self.rung_reports:
            self.passed.setdefault(number, set()).add(last["report"])

    def resume(self) -> None:
        records = [
            TrialRecord(
                number=number,
                state="stopped" if number in self.stopped else "running",
                assignment={},
                config={},
                reports=tuple(reports),
                passed_rungs=frozenset(self.passed.get(number, ())),
            )
            for number, reports in self.reports.items()
        ]
        self.rungs = Rungs.from_records(records, self.rung_reports, self.eta)


@given(st.data(), ETA)
def test_interrupted_and_resumed_stops_the_same_trials(data: st.DataObject, eta: int) -> None:
    num_trials = data.draw(st.integers(1, 6))
    score = st.floats(0, 1) | st.sampled_from([0.25, 0.5])
    curves = data.draw(st.lists(st.lists(score, min_size=9, max_size=9), min_size=num_trials, max_size=num_trials))
    order = data.draw(st.permutations([number for number in range(num_trials) for _ in range(9)]))
    cut = data.draw(st.integers(0, len(order)))
    whole, cut_short = Search(curves, eta), Search(curves, eta)
    for position, number in enumerate(order):
        if position == cut:
            cut_short.resume()
        whole.arrive(number)
        cut_short.arrive(number)
    assert cut_short.stopped == whole.stopped
    assert cut_short.rungs.table() == whole.rungs.table()


def test_a_report_that_was_not_judged_is_judged_after_resuming() -> None:
    search = Search([[0.5, 0.5], [0.4, 0.4]], 2)
    search.arrive(0)
    search.reports[1] = [{"report": 1, "score": 0.4}]  # written, and then the driver was killed
    search.resume()
    assert search.rungs.table() == [(1, 1, 1, 0.5)]
    search.judge(1)
    assert search.stopped == {1}
