"""A plan of a search, its timing played."""

import dataclasses
import json
from typing import Any

import pytest

from search_spaces.study import StudySpace
from tests.tuner.planned import NODE, as_guessed, planned, timed
from trainables.config import TrialConfig
from tuner.plan import Plan, PlannedNode
from tuner.plan_courses import LEAST_PAST, Costs, past_courses
from tuner.plan_making import END_SECONDS, RAY_BYTES, START_SECONDS, WORKERS
from tuner.plan_probe import Probed
from tuner.plan_simulation import Span
from tuner.prepare import prepare
from tuner.records import TrialRecord
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


def test_memory_and_disk_are_those_of_what_was_timed(search: SearchPlan) -> None:
    def probe(configs: dict[str, TrialConfig], num_processes: int, *, gpus_per_trial: float) -> Probed:
        values = [timed(memory_bytes=10**9 * (1 + place), device_memory_bytes=5) for place in range(len(configs) - 1)]
        return Probed(dict(zip(list(configs)[1:], values, strict=True)), {"middle": "out of memory"}, 1, 40.0)

    plan = planned(search, probe=probe)
    assert plan.memory_bytes.low == 10**9 + RAY_BYTES and plan.memory_bytes.high == 10**9 * len(plan.timed) + RAY_BYTES
    assert plan.device_memory_bytes is not None and plan.failed == {"middle": "out of memory"}
    assert plan.disk_bytes.low <= plan.disk_bytes.middle <= plan.disk_bytes.high == search.most_bytes(2)
    assert plan.nodes == (NODE,)
    assert any("may slow each other more" in line for line in plan.assumptions)


def record(number: int, state: Any, num_reports: int, score: float, passed: tuple[int, ...] = ()) -> TrialRecord:
    def report(index: int) -> dict[str, Any]:
        share = 1.0 if index == 9 else 0.25
        costs = {"train_seconds": 100.0, "eval_seconds": 20.0 * share, "dev_share": share}
        return {"report": index, "score": score, "budget": 70 * index, **costs}

    return TrialRecord(number, state, {}, {}, tuple(map(report, range(1, num_reports + 1))), frozenset(passed))


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


def test_of_a_search_that_is_done_only_start_and_end_are_left(search: SearchPlan) -> None:
    settings = search.settings.model_copy(update={"trials": 5})
    done = [record(number, "complete", 9, 0.5, (1, 3)) for number in range(5)]
    plan = planned(dataclasses.replace(search, settings=settings), records=done, price=1.0)
    assert (plan.trials_to_go, plan.complete.middle, plan.busy_hours.high, plan.held_hours.high) == (0, 5, 0, 0)
    assert START_SECONDS + END_SECONDS <= plan.wall_seconds.high < 20


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
