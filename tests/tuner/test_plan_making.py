"""A plan of a search, its timing played."""

import dataclasses
import json
from itertools import product
from typing import Any

import pytest

from search_spaces.study import StudySpace
from tests.tuner.planned import NODE, as_guessed, planned, timed
from trainables.config import TrialConfig
from tuner.plan import Plan, PlannedNode
from tuner.plan_courses import LEAST_PAST, Costs, past_courses
from tuner.plan_making import END_SECONDS, OLD_WORKER, RAY_BYTES, START_SECONDS, TRIAL_SECONDS, WORKER_SECONDS, WORKERS
from tuner.plan_probe import Probed
from tuner.plan_simulation import Span
from tuner.prepare import prepare
from tuner.records import Confirms, TrialRecord
from tuner.rungs import rung_reports
from tuner.search_plan import SearchPlan

TINY = ["encoder.name=tiny"]


@pytest.fixture(scope="module")
def search() -> SearchPlan:
    return prepare({"trials": 12, "space": "basics"}, set_texts=TINY)


@pytest.fixture(scope="module")
def plan(search: SearchPlan) -> Plan:
    return planned(search, price=2.0)


def test_it_comes_back_from_json_as_it_was(plan: Plan) -> None:
    assert Plan.parse(json.loads(json.dumps(plan.to_tree()))) == plan


def test_one_that_was_made_before_there_was_a_confirmation_is_read(plan: Plan) -> None:
    tree = plan.to_tree()
    for key in ("trainings_to_confirm", "confirm_seconds", "time_budget_seconds"):
        del tree[key]
    del tree["nodes"][0]["other_bytes"]
    old = Plan.parse(tree)
    assert old.trials == plan.trials and old.trainings_to_confirm == 0 and old.nodes == plan.nodes


@pytest.mark.parametrize("tree", [{}, None, 3, {"trials": "many"}, [1]])
def test_what_is_no_plan_is_refused(tree: Any) -> None:
    with pytest.raises(ValueError, match="plan: "):
        Plan.parse(tree)


def test_of_an_unknown_entry_it_is_refused(plan: Plan) -> None:
    with pytest.raises(ValueError, match="plan: colour: "):
        Plan.parse({**plan.to_tree(), "colour": "blue"})


def test_its_rungs_are_those_of_the_search(plan: Plan, search: SearchPlan) -> None:
    reports = rung_reports(search.base.num_reports, search.settings.reduction_factor)
    assert tuple(rung.report for rung in plan.rungs) == reports == (1, 3)
    assert [rung.budget for rung in plan.rungs] == [70, 210]
    assert plan.rungs[0].reached.low == plan.rungs[0].reached.high == 12
    for rung in plan.rungs:
        assert 1 <= rung.went_on.low <= rung.went_on.middle <= rung.went_on.high <= 12
    last = plan.rungs[-1].went_on
    assert plan.complete == Span(last.low + 1, last.middle + 1, last.high + 1)  # of at most 11 that are stopped one runs on


def test_more_workers_are_no_slower_where_nothing_is_stopped() -> None:
    plan = planned(prepare({"trials": 9, "space": "basics", "early_stopping": "none"}, set_texts=TINY))
    assert tuple(row.workers for row in plan.workers) == WORKERS and plan.rungs == ()
    walls = [row.wall_seconds.middle for row in plan.workers]
    assert walls == sorted(walls, reverse=True)
    assert plan.complete.low == plan.complete.high == 9
    assert "none are needed" in plan.curves


def test_the_price_is_of_what_is_held(plan: Plan) -> None:
    [own] = [row for row in plan.workers if row.workers == 2]
    assert plan.cost == plan.held_hours.times(2.0) == own.cost
    assert plan.held_hours.middle == pytest.approx(2 * plan.wall_seconds.middle / 3600)
    assert plan.busy_hours.middle < plan.held_hours.middle
    assert plan.wall_bounds[0] < plan.wall_seconds.middle < plan.wall_bounds[1]
    assert plan.full_trial_seconds.low < plan.full_trial_seconds.middle < plan.full_trial_seconds.high


def test_gpus_are_counted_where_trials_use_some(search: SearchPlan) -> None:
    settings = search.settings.model_copy(update={"gpus_per_trial": 0.25})
    shared = planned(dataclasses.replace(search, settings=settings), price=2.0)
    alone = planned(search, price=2.0)
    assert (shared.unit, alone.unit) == ("GPU", "worker")
    assert shared.held_hours.middle == pytest.approx(alone.held_hours.middle / 4)


def test_a_time_budget_bounds_the_wall_clock(search: SearchPlan) -> None:
    settings = search.settings.model_copy(update={"time_budget_seconds": 10.0})
    plan = planned(dataclasses.replace(search, settings=settings))
    assert plan.wall_seconds.high < 10 + 6 + 8 + 3


def test_of_a_time_budget_what_the_confirmation_takes_is_kept(search: SearchPlan) -> None:
    def within(seconds: float | None) -> Plan:
        settings = search.settings.model_copy(update={"time_budget_seconds": seconds, "early_stopping": "none", "trials": 60})
        return planned(dataclasses.replace(search, settings=settings))

    whole = within(None)
    budget = whole.confirm_seconds.high + 0.6 * (whole.wall_seconds.middle - whole.confirm_seconds.high)
    plan = within(budget)
    assert 0 < plan.complete.middle < whole.complete.middle == 60 and plan.trainings_to_confirm == 15
    assert plan.confirm_seconds.low > 0.5 * whole.confirm_seconds.low  # it is not cut off
    assert any("only their time is left" in line for line in plan.assumptions)
    assert not any("only their time is left" in line for line in whole.assumptions)


def test_memory_and_disk_are_those_of_what_was_timed(search: SearchPlan) -> None:
    def probe(configs: dict[str, TrialConfig], num_processes: int, *, gpus_per_trial: float) -> Probed:
        values = [timed(memory_bytes=10**9 * (1 + place), device_memory_bytes=5) for place in range(len(configs) - 1)]
        return Probed(dict(zip(list(configs)[1:], values, strict=True)), {"middle": "out of memory"}, 1, 40.0)

    plan = planned(search, probe=probe)
    assert plan.memory_bytes.low == 10**9 + RAY_BYTES
    assert plan.memory_bytes.high == OLD_WORKER * (10**9 * len(plan.timed) + RAY_BYTES)
    assert plan.memory_bytes.low < plan.memory_bytes.middle < plan.memory_bytes.high
    assert plan.device_memory_bytes is not None and plan.failed == {"middle": "out of memory"}
    assert 0 < plan.disk_bytes.low <= plan.disk_bytes.middle <= plan.disk_bytes.high == search.most_bytes(2)
    assert plan.nodes == (NODE,)
    assert any("may slow each other more" in line for line in plan.assumptions)


def record(number: int, state: Any, num_reports: int, score: float, passed: tuple[int, ...] = ()) -> TrialRecord:
    def report(index: int) -> dict[str, Any]:
        share = 1.0 if index == 9 else 0.25
        costs = {"train_seconds": 100.0, "eval_seconds": 20.0 * share, "dev_share": share}
        return {"report": index, "score": score, "budget": 70 * index, **costs}

    return TrialRecord(
        number, state, {}, {"budget_examples": number + 1}, tuple(map(report, range(1, num_reports + 1))), frozenset(passed)
    )


PAST = [
    record(0, "complete", 9, 0.6, (1, 3)),
    record(1, "stopped", 1, 0.3),
    record(2, "stopped", 1, 0.2),
    record(3, "failed", 2, 0.5),
    record(4, "interrupted", 4, 0.7, (1, 3)),
    record(5, "stopped", 1, 0.1),
]


def test_past_trials_are_courses_and_those_cut_short_go_on_as_they_were(search: SearchPlan) -> None:
    costs = Costs.of({"a": search.base}, {"a": timed()}, 2, 100)
    courses = past_courses(PAST, costs, 9, 0.25)
    assert [course.number for course in courses] == [0, 1, 2, 4, 5]
    assert all(course.report_seconds == pytest.approx((105.25,) * 8 + (120.25,)) for course in courses)
    assert courses[1].scores == (0.3,) * 9


def test_a_search_that_goes_on_goes_as_it_went(search: SearchPlan) -> None:
    settings = search.settings.model_copy(update={"trials": 16})
    plan = planned(dataclasses.replace(search, settings=settings), records=PAST)
    assert plan.trials_to_go == 11  # ten new ones, and one that was interrupted
    assert plan.curves.startswith("5 past trials") and len(PAST) - 1 >= LEAST_PAST
    assert plan.rungs[0].reached.middle == 6 + 10  # a failed one that reported stands at its rung
    assert plan.wall_seconds.low > 5 * 105
    assert plan.complete.low >= 1


DONE = [record(number, "complete", 9, 0.5, (1, 3)) for number in range(5)]
SECONDS = 8 * 105.25 + 120.25 + 0.5
"""Of a training that goes as those of `DONE` went."""


def of_five(search: SearchPlan, **changes: Any) -> SearchPlan:
    return dataclasses.replace(search, settings=search.settings.model_copy(update={"trials": 5, **changes}))


def again(number: int, trial: int | None, repeat: int, num_reports: int = 9, state: Any = "complete") -> TrialRecord:
    return dataclasses.replace(record(number, state, num_reports, 0.5), confirms=Confirms(trial, repeat))


def test_of_a_search_that_is_done_only_start_and_end_are_left(search: SearchPlan) -> None:
    plan = planned(of_five(search, confirm=0), records=DONE, price=1.0)
    assert (plan.trials_to_go, plan.complete.middle, plan.busy_hours.high, plan.held_hours.high) == (0, 5, 0, 0)
    assert START_SECONDS + END_SECONDS <= plan.wall_seconds.high < 20
    assert (plan.trainings_to_confirm, plan.confirm_seconds) == (0, Span(0, 0, 0))


def test_of_a_search_whose_confirmation_is_left_that_is_planned(search: SearchPlan) -> None:
    plan = planned(of_five(search), records=DONE, price=1.0)
    assert (plan.trials_to_go, plan.trainings_to_confirm, plan.complete.middle) == (0, 15, 5)
    [reference] = {round(plan.busy_hours.middle * 3600 - 12 * SECONDS, 3)}  # three of it, of which nobody knows but the timing
    assert 0 < reference < 3 * SECONDS and plan.cost is not None and plan.cost.middle == plan.held_hours.middle > 0
    first = [again(5 + repeat, None, repeat) for repeat in range(3)]
    after = planned(of_five(search), records=[*DONE, *first])
    assert after.trainings_to_confirm == 12
    assert after.busy_hours.middle * 3600 == pytest.approx(12 * SECONDS)
    assert after.confirm_seconds.middle == pytest.approx(6 * SECONDS + WORKER_SECONDS + 5 * TRIAL_SECONDS)


def test_trainings_that_were_cut_short_go_on_from_their_reports(search: SearchPlan) -> None:
    whole = [again(5 + number, trial, repeat) for number, (trial, repeat) in enumerate(product((None, 0, 1, 2, 3), range(3)))]
    assert planned(of_five(search), records=[*DONE, *whole]).busy_hours.high == 0
    cut = dataclasses.replace(whole[-1], state="interrupted", reports=whole[-1].reports[:4])
    unbegun = dataclasses.replace(whole[-2], state="interrupted", reports=())
    left = planned(of_five(search), records=[*DONE, *whole[:-2], unbegun, cut])
    assert (left.trials_to_go, left.trainings_to_confirm) == (0, 2)
    assert left.busy_hours.middle * 3600 == pytest.approx(2 * SECONDS - 4 * 105.25)


def test_no_more_are_trained_again_than_came_to_their_end(search: SearchPlan) -> None:
    many = dataclasses.replace(search, settings=search.settings.model_copy(update={"confirm": 500}))
    plan = planned(many)
    assert plan.trainings_to_confirm == 3 * (1 + plan.complete.middle) < 3 * 13
    assert plan.confirm_seconds.low < plan.confirm_seconds.high
    more = planned(dataclasses.replace(many, settings=many.settings.model_copy(update={"trials": 6})), records=DONE)
    assert 3 * (1 + 5) <= more.trainings_to_confirm <= 3 * (1 + 6)


def test_a_trial_whose_driver_was_killed_before_it_was_told_has_ended(search: SearchPlan) -> None:
    untold = [*DONE[:4], dataclasses.replace(DONE[4], state="interrupted")]
    plan, told = planned(of_five(search), records=untold), planned(of_five(search), records=DONE)
    assert (plan.trials_to_go, plan.complete, plan.trainings_to_confirm) == (0, told.complete, 15)
    assert plan.wall_seconds == told.wall_seconds
    more = planned(of_five(search, trials=7), records=[*untold, again(5, None, 0, state="running")])
    assert more.trials_to_go == 2 and more.trainings_to_confirm == 14


def test_rows_of_a_study_cost_what_their_budgets_say() -> None:
    study = prepare({"study": "best_fit.schedules", "seeds": 1}, set_texts=[*TINY, "budget_examples=400"])
    plan = planned(study)
    assert isinstance(study.space, StudySpace)
    assert plan.trials == plan.trials_to_go == len(study.space.study.rows)
    assert plan.budgets[0] <= plan.budgets[1] == 400 and plan.rungs == ()


def test_nodes_that_differ_are_told(search: SearchPlan) -> None:
    from tuner.plan_making import make_plan

    nodes = [NODE, PlannedNode("there", 4, 0)]
    plan = make_plan(search, nodes, slots=6, processes=2, probe=as_guessed, notes=["the moon is full"])
    assert plan.nodes == tuple(nodes) and plan.slots == 6
    assert {row.workers for row in plan.workers} == {*WORKERS, 6}
    assert plan.assumptions[-1] == "the moon is full" and any("other nodes" in line for line in plan.assumptions)
