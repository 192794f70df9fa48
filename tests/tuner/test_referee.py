"""A search without Ray: workers are played by a loop whose next step depends on nothing but the ledger."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuner.played_search import by_config, by_number, drive, outcome, referee_of
from tuner.ledger import Ledger
from tuner.records import TrialRecord, rank
from tuner.referee import MOST_TAKEN_BACK, Order, Referee
from tuner.samplers import grid_points

Event = tuple[str, TrialRecord]


class Gone(BaseException):
    """Stands for the end of the driver: no `except Exception` sees it."""


def endings(ledger: Ledger) -> list[Any]:
    """The same without what the sampler drew."""
    return [(r.number, r.state, r.reason, r.reports, sorted(r.passed_rungs)) for r in ledger.records()]


def check_whole(toy: Any, ledger: Ledger, trials: int) -> None:
    records = ledger.records()
    assert [record.number for record in records] == list(range(trials))
    for record in records:
        assert record.state in {"complete", "stopped", "failed"}
        assert [report["report"] for report in record.reports] == list(range(1, len(record.reports) + 1))
        assert record.state != "complete" or len(record.reports) == toy.base.num_reports
        assert record.state != "stopped" or len(record.reports) < toy.base.num_reports
        assert record.config


class KillAfter:
    """A listener: the driver dies after so many events, once each was heard."""

    def __init__(self, num_events: int) -> None:
        self.left, self.events = num_events, []

    def __call__(self, event: str, record: TrialRecord) -> None:
        self.events.append((event, record))
        self.left -= 1
        if self.left == 0:
            raise Gone


@pytest.mark.parametrize("searcher", ["random", "tpe"])
@pytest.mark.parametrize("concurrency", [1, 2])
def test_killed_after_any_event_it_ends_as_if_nothing_had_happened(searcher: str, concurrency: int, toy: Any) -> None:
    changes = {"searcher": searcher, "concurrency": concurrency, "trials": 8 if searcher == "tpe" else 6}
    study, listener = toy.new_study(), KillAfter(0)
    drive(toy, Ledger(study), by_config, listener, **changes)
    expected, num_events = outcome(Ledger(study)), len(listener.events)
    check_whole(toy, Ledger(study), changes["trials"])
    assert {state for _, state, *_ in expected} == {"complete", "stopped"}
    for num in range(1, num_events + 1, 1 if searcher == "random" else 5):
        study, listener = toy.new_study(), KillAfter(num)
        with pytest.raises(Gone):
            drive(toy, Ledger(study), by_config, listener, **changes)
        drive(toy, Ledger(study), by_config, **changes)
        assert outcome(Ledger(study)) == expected, f"killed after event {num}"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_killed_before_any_write_it_ends_with_each_trial_once_and_the_same_ones_stopped(concurrency: int, toy: Any) -> None:
    changes = {"concurrency": concurrency, "trials": 4}
    study = toy.new_study()
    drive(toy, Ledger(study), by_number, **changes)
    expected = endings(Ledger(study))
    assert {state for _, state, *_ in expected} == {"complete", "stopped"}
    for write in itertools.count():
        study, finished = toy.new_study(), False
        with toy.killed_before_write(write):
            drive(toy, Ledger(study), by_number, **changes)
            finished = True
        drive(toy, Ledger(study), by_number, **changes)
        check_whole(toy, Ledger(study), 4)
        assert endings(Ledger(study)) == expected, f"killed before write {write}"
        if finished:
            break
    assert write > 15


@settings(max_examples=15)
@given(st.lists(st.integers(1, 12), max_size=6), st.integers(1, 3))
def test_killed_again_and_again_it_still_ends_the_same(toy: Any, kills: list[int], concurrency: int) -> None:
    changes = {"concurrency": concurrency, "trials": 6}
    whole, study = toy.new_study(), toy.new_study()
    drive(toy, Ledger(whole), by_number, **changes)
    for num_events in kills:
        try:
            drive(toy, Ledger(study), by_number, KillAfter(num_events), **changes)
        except Gone:
            continue
    drive(toy, Ledger(study), by_number, **changes)
    assert outcome(Ledger(study)) == outcome(Ledger(whole))


def test_on_disk_it_is_the_same(toy: Any, tmp_path: Path) -> None:
    whole = toy.new_ledger(tmp_path / "whole")
    drive(toy, whole, by_number, concurrency=2, trials=3)
    cut = toy.new_ledger(tmp_path / "cut")
    for num_events in (2, 4):
        with pytest.raises(Gone):
            drive(toy, cut, by_number, KillAfter(num_events), concurrency=2, trials=3)
        cut = Ledger.open(tmp_path / "cut")
    drive(toy, cut, by_number, concurrency=2, trials=3)
    assert outcome(Ledger.open(tmp_path / "cut")) == outcome(whole)


def test_the_ledger_knows_of_each_event_before_the_listener(toy: Any) -> None:
    ledger = Ledger(toy.new_study())
    seen = []

    def listener(event: str, record: TrialRecord) -> None:
        assert record == ledger.record(record.number)
        seen.append((event, record.number, len(record.reports), record.state))

    drive(toy, ledger, lambda record, index: 0.5 - 0.1 * record.number, listener, trials=2)
    assert seen == [
        ("ask", 0, 0, "running"),
        ("report", 0, 1, "running"),
        ("report", 0, 2, "running"),
        ("report", 0, 3, "running"),
        ("end", 0, 3, "complete"),
        ("ask", 1, 0, "running"),
        ("report", 1, 1, "running"),
        ("end", 1, 1, "stopped"),
    ]


def test_interrupted_trials_come_first_and_say_how_far_they_were(toy: Any) -> None:
    study = toy.new_study()
    first = referee_of(toy, Ledger(study))
    numbers = [first.next_order().number for _ in range(3)]
    first.hear(1, toy.report(1, 0.5))
    first.end(2, "failed", "error", "a line")
    events: list[Event] = []
    second = referee_of(toy, Ledger(study), lambda *event: events.append(event))
    assert second.num_to_start == 4
    orders = [second.next_order() for _ in range(4)]
    assert numbers == [0, 1, 2]
    assert [(order.number, order.known_reports) for order in orders] == [(0, 0), (1, 1), (3, 0), (4, 0)]
    assert [event for event, _ in events] == ["requeue", "requeue", "ask", "ask"]
    assert second.next_order() == "finished"
    assert second.num_to_start == 0


def test_an_order_is_plain_and_names_the_trials_folder(toy: Any) -> None:
    ledger = Ledger(toy.new_study())
    order = referee_of(toy, ledger).next_order()
    record = ledger.record(0)
    plain = {"number": 0, "config": record.config, "folder": "/s/trials/0000", "known_reports": 0}
    assert order.to_tree() == {**plain, "data_hashes": None, "encoder_sha256": None, "storage": None}
    assert record.lineage == {"git_commit": "c0ffee", "seed": 0}


def test_an_order_made_anew_knows_what_has_been_acknowledged(toy: Any) -> None:
    referee = referee_of(toy, Ledger(toy.new_study()))
    first = referee.next_order()
    assert isinstance(first, Order)
    referee.hear(first.number, toy.report(1, 0.5))
    assert (first.known_reports, referee.order_of(first.number)) == (0, replace(first, known_reports=1))


def test_an_order_names_the_trials_place_in_the_storage(toy: Any) -> None:
    referee = Referee(
        Ledger(toy.new_study()),
        toy.settings(),
        toy.space,
        toy.base,
        Path("/s"),
        attributes={},
        storage="s3://b/mine-0123?region=x",
    )
    order = referee.next_order()
    assert isinstance(order, Order)
    assert (order.folder, order.storage) == ("/s/trials/0000", "s3://b/mine-0123/trials/0000?region=x")


def test_an_order_carries_the_hashes_that_the_search_began_with(toy: Any) -> None:
    hashes = {"data_hashes": {"sts-dev.csv": "ab"}, "encoder_sha256": "cd"}
    ledger = Ledger(toy.new_study())
    referee = Referee(ledger, toy.settings(), toy.space, toy.base, Path("/s"), attributes={"git_commit": "c0ffee", **hashes})
    tree = referee.next_order().to_tree()
    assert {key: tree[key] for key in hashes} == hashes


def test_an_ask_that_was_cut_short_is_completed_and_handed_out(toy: Any) -> None:
    study = toy.new_study()
    study.ask().suggest_float("optimizer.lr", 1e-5, 1e-3, log=True)  # as far as an older driver had come
    assert Ledger(study).record(0).config == {}
    order = referee_of(toy, Ledger(study)).next_order()
    assert order.number == 0 and order.config == Ledger(study).record(0).config != {}


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_report_heard_twice_changes_nothing_and_is_told_once(index: int, toy: Any) -> None:
    ledger, events = Ledger(toy.new_study()), []
    referee = referee_of(toy, ledger, lambda *event: events.append(event))
    referee.next_order()
    for i in range(1, index + 1):
        decision = referee.hear(0, toy.report(i, 0.5))
    before, table, num_events = outcome(ledger), referee.rungs.table(), len(events)
    assert referee.hear(0, toy.report(index, 0.5)) == decision == ("stop" if index == 3 else "continue")
    assert referee.hear(0, toy.report(1, 0.1)) == decision  # an older one, from a worker that was started again
    assert (outcome(ledger), referee.rungs.table(), len(events)) == (before, table, num_events)


@pytest.mark.parametrize("score", [0.9, math.nan])
def test_what_comes_after_the_end_changes_nothing(score: float, toy: Any) -> None:
    ledger, events = Ledger(toy.new_study()), []
    referee = referee_of(toy, ledger, lambda *event: events.append(event))
    for number, first in enumerate((0.5, 0.4)):
        referee.next_order()
        referee.hear(number, toy.report(1, first))
    assert ledger.record(1).state == "stopped"
    before, num_events = outcome(ledger), len(events)
    assert referee.hear(1, toy.report(2, score)) == "stop"
    assert referee.end(1, "failed", "lost", "too late") == "stop"
    assert (outcome(ledger), len(events)) == (before, num_events)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_ends_the_trial_and_the_search_goes_on(score: float, toy: Any) -> None:
    ledger = Ledger(toy.new_study())
    drive(toy, ledger, lambda record, index: score if (record.number, index) == (1, 2) else 0.5, trials=3, early_stopping="none")
    check_whole(toy, ledger, 3)
    diverged = ledger.record(1)
    assert (diverged.state, diverged.reason, diverged.detail) == ("failed", "diverged", f"score is {score} at report 2")
    assert [report["report"] for report in diverged.reports] == [1]
    assert [record.state for record in ledger.records()] == ["complete", "failed", "complete"]


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"sst_accuracy": None}, "error", "report 2 has no sst_accuracy"),
        ({"score": None}, "error", "report 2 has no score"),
        ({"sts_pearson": math.nan}, "diverged", "sts_pearson is nan at report 2"),
        ({"loss": math.inf}, "diverged", "loss is inf at report 2"),
    ],
)
def test_a_report_that_lacks_a_metric_or_holds_no_number_ends_its_trial_alone_and_it_never_wins(
    changes: dict[str, Any], reason: str, detail: str, toy: Any
) -> None:
    ledger = Ledger(toy.new_study())
    referee = referee_of(toy, ledger, trials=2, early_stopping="none")
    for number in range(2):
        referee.next_order()
        assert referee.hear(number, toy.report(1, 0.9 - 0.1 * number)) == "continue"
    broken = {key: value for key, value in {**toy.report(2, 0.95), **changes}.items() if value is not None}
    assert referee.hear(0, broken) == "stop"
    for index in (2, 3):
        referee.hear(1, toy.report(index, 0.5))
    check_whole(toy, ledger, 2)
    failed = ledger.record(0)
    assert (failed.state, failed.reason, failed.detail, len(failed.reports)) == ("failed", reason, detail, 1)
    assert [record.number for record in rank(ledger.records())] == [1]


def test_a_trial_without_memory_is_tried_once_more_in_halves_then_fails_and_is_told_to_optuna(toy: Any) -> None:
    study = toy.new_study()
    ledger = Ledger(study)
    referee = referee_of(toy, ledger, trials=1)
    first = referee.next_order()
    assert isinstance(first, Order) and first.config["data"]["micro_batch_size"] is None
    assert referee.hear(0, toy.report(1, 0.5)) == "continue"
    again = referee.out_of_memory(0, "no room")
    assert again is not None and again.known_reports == 1
    assert again.config["data"] == {**first.config["data"], "micro_batch_size": first.config["data"]["batch_size"] // 2}
    assert (ledger.record(0).state, ledger.record(0).config) == ("running", first.config)
    taken_over = referee_of(toy, Ledger(study), trials=1)
    assert taken_over.next_order() == again
    assert taken_over.out_of_memory(0, "no room in halves") is None
    failed = Ledger(study).record(0)
    assert (failed.state, failed.reason, failed.detail) == ("failed", "out_of_memory", "no room in halves")
    [trial] = optuna.load_study(storage=study._storage, study_name=study.study_name).trials
    assert (trial.state.name, trial.constraints) == ("FAIL", {"out_of_memory": 1.0})


def test_what_cannot_be_halved_fails_at_once_and_what_has_ended_stays_so(toy: Any) -> None:
    ledger = Ledger(toy.new_study())
    referee = Referee(
        ledger, toy.settings(trials=2), toy.space, toy.base.override({"data.batch_size": 1}), Path("/s"), attributes={}
    )
    referee.next_order()
    assert referee.out_of_memory(0, "no room") is None
    assert ledger.record(0).reason == "out_of_memory"
    referee.next_order()
    referee.end(1, "failed", "hung", "silent")
    assert referee.out_of_memory(1, "no room") is None
    assert ledger.record(1).reason == "hung"


def test_without_early_stopping_all_are_complete(toy: Any) -> None:
    ledger = Ledger(toy.new_study())
    drive(toy, ledger, by_number, early_stopping="none")
    assert [record.state for record in ledger.records()] == ["complete"] * 5
    assert referee_of(toy, ledger, early_stopping="none").rung_reports == ()


def test_trials_are_added_to_a_finished_search(toy: Any) -> None:
    study, at_once = toy.new_study(), toy.new_study()
    drive(toy, Ledger(study), by_number, trials=3)
    before = outcome(Ledger(study))
    assert drive(toy, Ledger(study), by_number, trials=3) == []
    added = drive(toy, Ledger(study), by_number, trials=7)
    assert [order.number for order in added] == [3, 4, 5, 6]
    assert outcome(Ledger(study))[:3] == before
    drive(toy, Ledger(at_once), by_number, trials=7)
    assert outcome(Ledger(study)) == outcome(Ledger(at_once))


def test_a_grid_is_gone_through_point_by_point(toy: Any) -> None:
    study = toy.new_study()
    for trials in (3, 8):
        Ledger(study).enqueue(grid_points(toy.space, toy.base, trials, seed=0))
        drive(toy, Ledger(study), by_number, trials=trials, searcher="grid")
    check_whole(toy, Ledger(study), 8)
    points = [tuple(record.assignment.items()) for record in Ledger(study).records()]
    grid = {tuple(point.items()) for point in toy.space.grid(toy.base)}
    assert len(set(points)) == 8 and set(points) <= grid


def test_a_trial_that_never_began_is_handed_out_again_but_not_for_ever(toy: Any, ledger: Ledger) -> None:
    referee = referee_of(toy, ledger, trials=1)
    for _ in range(1 + MOST_TAKEN_BACK):
        order = referee.next_order()
        assert isinstance(order, Order) and order.number == 0
        assert not referee.is_to_start(0)
        referee.take_back(0)
    assert not referee.is_to_start(0) and referee.next_order() == "finished"


def test_a_trial_that_has_ended_is_not_taken_back(toy: Any, ledger: Ledger) -> None:
    referee = referee_of(toy, ledger, trials=1)
    referee.next_order()
    referee.end(0, "failed", "hung", "")
    referee.take_back(0)
    assert referee.next_order() == "finished"
