"""What was planned beside what happened."""

import datetime
from dataclasses import replace
from typing import Any

import pytest

from tests.tuner.planned import planned
from tuner.plan import DISK, PLAN, Plan
from tuner.plan_fact import PlannedFact, is_as_planned, num_ended, plan_beside_fact, plan_in
from tuner.plan_simulation import Span
from tuner.prepare import prepare
from tuner.records import Confirms, TrialRecord
from tuner.stretches import DRIVERS


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(prepare({"trials": 3, "space": "basics"}, set_texts=["encoder.name=tiny"]))


def report(index: int, **more: Any) -> dict[str, Any]:
    return {"report": index, "score": 0.5, "budget": 70 * index, "train_seconds": 30.0, "eval_seconds": 6.0, **more}


RECORDS = [
    TrialRecord(0, "complete", {}, {}, tuple(report(i, memory_bytes=10**9 + i) for i in range(1, 10)), frozenset({1, 3})),
    TrialRecord(1, "stopped", {}, {}, (report(1),)),
    TrialRecord(2, "failed", {}, {}, (report(1), report(2), report(3)), frozenset({1, 3})),
]
HEADER = {DRIVERS: [["2026-11-22T10:00:00+00:00", "2026-11-22T10:10:00+00:00"]], DISK: 7}


def test_each_figure_has_its_fact(plan: Plan) -> None:
    facts = {fact.name: fact for fact in plan_beside_fact(plan, RECORDS, HEADER)}
    assert {name: fact.fact for name, fact in facts.items()} == {
        "wall clock": 600.0,
        "worker-hours at work": pytest.approx(13 * 36 / 3600),
        "peak disk": 7.0,
        "memory of a trial": 1e9 + 9,
        "reach report 1": 3.0,
        "go on after report 1": 2.0,
        "reach report 3": 2.0,
        "go on after report 3": 2.0,
        "full budget": 1.0,
    }
    assert facts["wall clock"].planned == plan.wall_seconds and facts["peak disk"].planned == plan.disk_bytes
    assert {fact.unit for fact in facts.values()} == {"seconds", "hours", "bytes", "trials"}


def test_what_nothing_tells_is_not_known(plan: Plan) -> None:
    facts = {fact.name: fact.fact for fact in plan_beside_fact(plan, RECORDS[1:2], {})}
    assert [facts[name] for name in ("wall clock", "peak disk", "memory of a trial")] == [None] * 3
    stored = {fact.name: fact.fact for fact in plan_beside_fact(plan, RECORDS, {**HEADER, "settings": {"storage": "s3://a/b"}})}
    assert stored["peak disk"] is None and stored["wall clock"] == 600


def test_who_was_drawn_to_run_on_was_compared_no_more(plan: Plan) -> None:
    audited = replace(RECORDS[0], number=3, passed_rungs=frozenset(), audited=1)
    before, after = (
        {f.name: f.fact for f in plan_beside_fact(plan, records, HEADER)} for records in (RECORDS, [*RECORDS, audited])
    )
    assert (after["reach report 1"], after["go on after report 1"]) == (4, 2)
    assert after["reach report 3"] == before["reach report 3"] and after["full budget"] == 2


def test_shares_of_gpus_are_counted(plan: Plan) -> None:
    quarter = replace(plan, gpus_per_trial=0.25)
    [fact] = [fact for fact in plan_beside_fact(quarter, RECORDS, HEADER) if fact.unit == "hours"]
    assert (fact.name, fact.fact) == ("GPU-hours at work", pytest.approx(13 * 36 / 3600 / 4))


@pytest.mark.parametrize(("fact", "is_within"), [(None, None), (1.0, True), (3.0, True), (0.9, False), (3.1, False)])
def test_a_fact_lies_in_its_range_or_not(fact: float | None, is_within: bool | None) -> None:
    assert PlannedFact("wall clock", "seconds", Span(1, 2, 3), fact).is_within is is_within


@pytest.mark.parametrize(
    ("ended", "more", "is_final"), [("complete", 0, True), ("complete", 1, False), ("stopped", 0, False), (None, 0, False)]
)
def test_only_of_a_search_that_has_ended_as_planned_facts_are_in_their_range_or_not(
    ended: str | None, more: int, is_final: bool, plan: Plan
) -> None:
    again = replace(RECORDS[0], number=3, confirms=Confirms(None, 0))  # no trial of the search
    records = [*RECORDS, again, *(replace(RECORDS[1], number=4 + number) for number in range(more))]
    facts = plan_beside_fact(plan, records, {**HEADER, "ended": ended})
    assert all(fact.fact is not None and (fact.is_within is not None) == is_final for fact in facts)
    assert is_as_planned(plan, records, {"ended": ended}) == is_final


def test_trials_that_have_ended_are_those_of_the_search() -> None:
    again = replace(RECORDS[0], number=3, confirms=Confirms(None, 0))
    assert num_ended([*RECORDS, again, replace(RECORDS[0], number=4, state="running")]) == 3


def test_a_ledger_has_a_plan_or_none(plan: Plan) -> None:
    assert plan_in({}) is None and plan_in({PLAN: None}) is None
    assert plan_in({PLAN: plan.to_tree()}) == plan
    with pytest.raises(ValueError, match="plan: "):
        plan_in({PLAN: {"made": datetime.date(2026, 1, 1)}})
