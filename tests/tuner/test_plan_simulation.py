"""Properties of a simulated search; its decisions are those of the rungs themselves."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.plan_simulation import LEAST_REPLICATES, REPLICATES, Afterwards, Course, Outcome, Overhead, Span, replicate, simulate
from tuner.records import TrialRecord
from tuner.rungs import Rungs, rung_reports

NUM_REPORTS = 9
SECONDS = st.floats(0.1, 100)


@st.composite
def courses(draw: st.DrawFn, most: int = 12) -> list[Course]:
    return [
        Course(
            draw(st.floats(0, 5)),
            tuple(draw(st.lists(SECONDS, min_size=NUM_REPORTS, max_size=NUM_REPORTS))),
            tuple(draw(st.lists(st.floats(0, 1) | st.just(math.nan), min_size=NUM_REPORTS, max_size=NUM_REPORTS))),
            number,
        )
        for number in range(draw(st.integers(1, most)))
    ]


WORKERS = st.integers(1, 16)
RUNGS = rung_reports(NUM_REPORTS, 3)


@given(courses(), WORKERS)
def test_without_early_stopping_the_work_is_the_same_and_the_wall_clock_is_that_of_a_list_schedule(
    trials: list[Course], workers: int
) -> None:
    done = simulate(trials, workers=workers, rungs=Rungs((), 3))
    seconds = [trial.seconds for trial in trials]
    assert done.num_complete == len(trials) and done.num_unfinished == 0 and done.rungs == ()
    assert done.busy_seconds == pytest.approx(sum(seconds))
    assert done.wall_seconds >= max(*seconds, sum(seconds) / workers) * (1 - 1e-9)
    # Graham 1969: a list schedule takes at most the work shared out, and the rest of one trial.
    assert done.wall_seconds <= sum(seconds) / workers + (1 - 1 / workers) * max(seconds) + 1e-6
    assert done.held_seconds == pytest.approx(done.wall_seconds * min(workers, len(trials)))


@given(courses(), WORKERS)
def test_without_early_stopping_twice_the_workers_are_never_slower_than_half_of_them(trials: list[Course], workers: int) -> None:
    """Independent trials in a fixed order: one more worker frees no slot later, unlike where trials wait for each other."""
    walls = [simulate(trials, workers=count, rungs=Rungs((), 3)).wall_seconds for count in (workers, workers + 1, 2 * workers)]
    assert walls[0] >= walls[1] - 1e-6 and walls[1] >= walls[2] - 1e-6


@given(courses(), WORKERS)
def test_a_worker_for_each_trial_takes_as_long_as_the_longest(trials: list[Course], more: int) -> None:
    done = simulate(trials, workers=len(trials) + more, rungs=Rungs((), 3))
    assert done.wall_seconds == pytest.approx(max(trial.seconds for trial in trials))


@given(courses(), st.integers(2, 4))
def test_one_worker_stops_whom_the_rungs_stop_in_that_order(trials: list[Course], eta: int) -> None:
    reports = rung_reports(NUM_REPORTS, eta)
    done, rungs = simulate(trials, workers=1, rungs=Rungs(reports, eta)), Rungs(reports, eta)
    seconds, num_complete = 0.0, 0
    for trial in trials:
        seconds += trial.begin_seconds
        for report in range(1, NUM_REPORTS + 1):
            seconds += trial.report_seconds[report - 1]
            if report < NUM_REPORTS and not rungs.goes_on(trial.number, report, trial.scores[report - 1]):
                break
        else:
            num_complete += 1
    assert done.rungs == tuple(row[:3] for row in rungs.table())
    assert done.wall_seconds == pytest.approx(seconds) and done.num_complete == num_complete


@given(courses(), WORKERS, st.integers(2, 4))
def test_with_early_stopping_every_trial_ends_and_no_rung_gains_trials(trials: list[Course], workers: int, eta: int) -> None:
    rungs = Rungs(rung_reports(NUM_REPORTS, eta), eta)
    done = simulate(trials, workers=workers, rungs=rungs)
    assert done.rungs == tuple(row[:3] for row in rungs.table())
    reached = [len(trials), *(on for _, _, on in done.rungs)]
    assert [row[1] for row in done.rungs] == reached[:-1]  # who goes on at a rung reaches the next
    assert done.num_complete == reached[-1] and done.num_unfinished == 0
    assert done.busy_seconds <= sum(trial.seconds for trial in trials) + 1e-6
    assert done.wall_seconds >= done.busy_seconds / workers - 1e-6


@given(courses(), WORKERS, st.floats(1, 500))
def test_a_time_budget_cuts_and_nothing_else(trials: list[Course], workers: int, budget: float) -> None:
    whole = simulate(trials, workers=workers, rungs=Rungs(RUNGS, 3))
    cut = simulate(trials, workers=workers, rungs=Rungs(RUNGS, 3), time_budget_seconds=budget)
    assert cut.wall_seconds == pytest.approx(min(whole.wall_seconds, budget))
    assert cut.busy_seconds <= min(whole.busy_seconds, workers * budget) + 1e-6
    assert cut.num_complete <= whole.num_complete
    assert (cut.num_unfinished > 0) == (whole.wall_seconds > budget)


@given(courses(), WORKERS, st.integers(0, 9))
def test_what_follows_the_search_begins_once_it_has_ended(trials: list[Course], workers: int, num_after: int) -> None:
    seen: list[int] = []

    def follow(complete: Sequence[Course]) -> Sequence[Course]:
        seen.append(len(complete))
        return [trials[number % len(trials)] for number in range(num_after)]

    alone = simulate(trials, workers=workers, rungs=Rungs(RUNGS, 3))
    more = simulate(trials, workers=workers, rungs=Rungs(RUNGS, 3), afterwards=Afterwards(follow))
    assert seen == [alone.num_complete] and more.num_after == num_after
    assert more.rungs == alone.rungs and more.num_complete == alone.num_complete
    shortest, longest = min(t.seconds for t in trials), max(t.seconds for t in trials)
    rounds = math.ceil(num_after / workers)
    assert rounds * shortest - 1e-6 <= more.wall_seconds - alone.wall_seconds <= rounds * longest + 1e-6
    extra = more.busy_seconds - alone.busy_seconds
    assert num_after * shortest - 1e-6 <= extra <= num_after * longest + 1e-6


@given(courses(), WORKERS, st.integers(0, 9), st.floats(1, 5_000))
def test_of_a_time_budget_what_follows_keeps_its_share(trials: list[Course], workers: int, num_after: int, budget: float) -> None:
    longest = max(trials, key=lambda trial: trial.seconds)

    def run(kept: Callable[[float, int, int], float] | None) -> Outcome:
        after = Afterwards(lambda _: [longest] * num_after, kept, (longest.seconds,))
        return simulate(trials, workers=workers, rungs=Rungs((), 3), afterwards=after, time_budget_seconds=budget)

    of_all = math.ceil(num_after / workers) * longest.seconds
    kept, cut = run(lambda _full, _workers, _best: longest.seconds + of_all), run(None)
    assert kept.after_seconds == pytest.approx(of_all) or budget < longest.seconds + of_all
    assert kept.num_complete <= cut.num_complete
    assert kept.wall_seconds <= budget * (1 + 1e-9)
    assert run(lambda _full, _workers, _best: 0.0) == cut


def test_the_time_kept_is_by_the_reports_so_far_and_who_was_begun_goes_on() -> None:
    def run(trials: list[Course], before: tuple[float, ...] = ()) -> tuple[int, list[tuple[float, int, int]]]:
        asked: list[tuple[float, int, int]] = []

        def kept(full: float, workers: int, num_best: int) -> float:
            asked.append((full, workers, num_best))
            return 2 * full

        after = Afterwards(seconds_kept=kept, reports_before=before)
        done = simulate(trials, workers=1, rungs=Rungs((), 3), afterwards=after, time_budget_seconds=100.0)
        return done.num_unfinished, asked

    trials = [course(number, 0.5) for number in range(4)]  # of 31 s each, 30 in three reports
    assert run(trials) == (2, [(30.0, 1, 1), (30.0, 1, 2)])  # after 31 s 69 are left, after 62 s 38
    assert run(trials, (40.0,)) == (4, [(120.0, 1, 0)])
    begun = [course(0, 0.5, reports_done=1), *trials[1:]]
    assert run(begun, (40.0,)) == (3, [(60.0, 1, 1)])  # it is not asked about


def course(number: int, score: float, seconds: float = 10.0, **changes: int) -> Course:
    return Course(1.0, (seconds,) * 3, (score,) * 3, number, **changes)


def test_some_trials_on_two_workers() -> None:
    """Trial 0 takes 31 s; 1 is stopped at 11 s, for 0 was there first; 2 passes at 22 s and ends at 42 s; 3 stops at 42 s."""
    trials = [course(0, 0.5), course(1, 0.4), course(2, 0.6), course(3, 0.1)]
    done = simulate(trials, workers=2, rungs=Rungs([1], 3))
    assert done.rungs == ((1, 4, 2),)
    assert (done.wall_seconds, done.busy_seconds, done.held_seconds) == (42.0, 84.0, 84.0)
    overhead = Overhead(start=6.0, worker=3.0, trial=0.5, end=8.0)
    slower = simulate(trials, workers=2, rungs=Rungs([1], 3), overhead=overhead)
    assert (slower.wall_seconds, slower.busy_seconds) == (42.0 + 6 + 3 + 0.5 + 8, 84.0)


def test_a_search_that_goes_on_stands_on_its_rungs_and_trials_go_on_from_their_reports() -> None:
    before = TrialRecord(0, "complete", {}, {}, ({"report": 1, "score": 0.9, "train_seconds": 1.0},), frozenset({1}))
    done = simulate([course(1, 0.95, reports_done=2), course(2, 0.5)], workers=1, rungs=Rungs.from_records([before], [1], 3))
    assert done.rungs == ((1, 2, 1),)  # trial 2 meets the one that was there before it
    assert done.wall_seconds == 11.0 + 11.0


@given(courses(), WORKERS, st.sets(st.integers(0, 11)))
def test_who_runs_on_has_its_full_budget_and_changes_no_rung(trials: list[Course], workers: int, drawn: set[int]) -> None:
    alone = simulate(trials, workers=1, rungs=Rungs(RUNGS, 3))
    audited = simulate(trials, workers=1, rungs=Rungs(RUNGS, 3), runs_on=drawn.__contains__)
    num_stopped = len(trials) - alone.num_complete
    num_drawn = sum(position in drawn for position in range(num_stopped))
    assert audited.rungs == alone.rungs  # one worker: the order is the same
    assert audited.num_complete == alone.num_complete + num_drawn and audited.num_unfinished == 0
    assert (audited.wall_seconds > alone.wall_seconds) == (num_drawn > 0)
    many = simulate(trials, workers=workers, rungs=Rungs(RUNGS, 3), runs_on=lambda position: True)
    assert many.num_complete == len(trials) and many.busy_seconds == pytest.approx(sum(trial.seconds for trial in trials))


def test_a_trial_that_ran_on_before_is_judged_no_more() -> None:
    one = course(1, 0.1, reports_done=1, is_audited=True)
    done = simulate([one], workers=1, rungs=Rungs([1, 2], 3), runs_on=lambda position: False)
    assert (done.wall_seconds, done.num_complete) == (21.0, 1)
    assert [row[1] for row in done.rungs] == [0, 0]


def test_replicates_are_seeded_share_their_courses_and_grow_fewer() -> None:
    seen: list[float] = []

    def draw(rng: np.random.Generator) -> list[Course]:
        seen.append(rng.random())
        return [course(number, float(score)) for number, score in enumerate(rng.random(6))]

    def run(seed: int) -> dict[int, list[float]]:
        outcomes = replicate(draw, lambda: Rungs([1], 3), workers=(1, 4), overhead=Overhead(), seed=seed)
        return {count: [outcome.wall_seconds for outcome in inner] for count, inner in outcomes.items()}

    assert run(0) == run(0) and len(seen) == 2 * REPLICATES
    assert run(1) != run(0)
    trials = [course(number, 0.5) for number in range(2_000)]
    many = replicate(lambda _: trials, lambda: Rungs((), 3), workers=(64,), overhead=Overhead(), seed=0)
    assert len(many[64]) == LEAST_REPLICATES


def test_a_span() -> None:
    assert Span.of([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]) == Span(2.0, 6.0, 10.0)
    assert Span.of([3.0]).times(2) == Span(6.0, 6.0, 6.0)
