"""The confirmation of a search, played without Ray: workers are a loop whose next step depends on nothing but the ledger."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.confirming_toy import CHANGES, ConfirmingToy, by_seed, confirming, failing, search
from tests.tuner.conftest import Toy
from tests.tuner.played_search import by_config, drive, outcome, referee_of
from trainables.tasks import CS224N
from tuner import referee
from tuner.confirm import best_trials, config_of, is_confirmed, missing, num_held, num_to_come, num_trainings, seconds_needed
from tuner.confirmation import confirmation
from tuner.ledger import Ledger
from tuner.records import Confirms, TrialRecord, rank, searched


@pytest.fixture
def toy(toy: Toy) -> ConfirmingToy:
    return confirming(toy)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_the_best_and_the_reference_are_trained_again_after_the_search(toy: Any, tmp_path: Path, concurrency: int) -> None:
    ledger, orders = search(toy, tmp_path / "s", concurrency=concurrency)
    records = ledger.records()
    again = records[5:]
    assert all(record.state == "complete" for record in records)
    best = [record.number for record in rank(records)][:2]
    wanted = {Confirms(trial, repeat) for trial in (None, *best) for repeat in range(2)}
    assert [record.confirms for record in records[:5]] == [None] * 5
    assert {record.confirms for record in again} == wanted
    assert len(again) == len(wanted) == num_trainings(toy.settings(**CHANGES), toy.base)
    assert [order.number for order in orders] == [record.number for record in records]
    first_best = next(record for record in again if record.confirms is not None and record.confirms.trial is not None)
    ended = [record.ended for record in records[:5]]
    assert all(end is not None and first_best.started is not None and end <= first_best.started for end in ended)


def test_configs_are_those_of_the_trials_but_for_seed_and_rows(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    seeds = [record.config["seed"] for record in records]
    assert len(set(seeds)) == len(seeds)
    for record in records[5:]:
        assert record.confirms is not None
        source = toy.base.to_tree() if record.confirms.trial is None else records[record.confirms.trial].config
        assert record.config == {**source, "seed": record.config["seed"], "score_confirm": True}
        assert record.assignment == ({} if record.confirms.trial is None else records[record.confirms.trial].assignment)
    assert not any(record.config["score_confirm"] for record in records[:5])


def test_killed_after_any_event_it_ends_as_if_nothing_had_happened(toy: Any, tmp_path: Path) -> None:
    whole, _ = search(toy, tmp_path / "whole")
    expected, event = outcome(whole), 0
    while True:
        ledger, events = toy.new_ledger(tmp_path / f"s{event}"), iter(range(event + 1))

        def die(_event: str, _record: TrialRecord, events: Any = events) -> None:
            if next(events, None) is None:
                raise KeyboardInterrupt

        try:
            drive(toy, ledger, by_seed, die, **CHANGES)
        except KeyboardInterrupt:
            again = Ledger.open(tmp_path / f"s{event}")
            drive(toy, again, by_seed, **CHANGES)
            assert outcome(again) == expected
            event += 3
        else:
            break
    assert event > 30


def test_trials_added_later_are_confirmed_where_they_lead_and_nothing_is_trained_twice(toy: Any, tmp_path: Path) -> None:
    ledger, _ = search(toy, tmp_path / "s")
    before = ledger.records()
    drive(toy, ledger, by_seed, **{**CHANGES, "trials": 12})
    after = ledger.records()
    assert [r.confirms for r in after[: len(before)]] == [r.confirms for r in before]
    assert len(searched(after)) == 12
    confirmed = [record.confirms for record in after if record.confirms is not None]
    assert len(set(confirmed)) == len(confirmed)
    assert {confirms.trial for confirms in confirmed} >= {None, *best_trials(after, 2, toy.base)}


def test_samplers_learn_nothing_from_it(toy: Any, tmp_path: Path) -> None:
    """Trials that are added to a confirmed search are those that would have come without."""
    confirmed, _ = search(toy, tmp_path / "confirmed", searcher="tpe")
    plain, _ = search(toy, tmp_path / "plain", searcher="tpe", confirm=0)
    for ledger, confirm in ((confirmed, 2), (plain, 0)):
        drive(toy, ledger, by_config, **{**CHANGES, "searcher": "tpe", "confirm": confirm, "trials": 9})
    assert [r.assignment for r in searched(confirmed.records())] == [r.assignment for r in plain.records()]


def test_rungs_stop_no_training_that_confirms_and_learn_nothing_from_it(toy: Any, tmp_path: Path) -> None:
    ledger, _ = search(toy, tmp_path / "s", early_stopping="asha", trials=8)
    records = ledger.records()
    assert any(record.state == "stopped" for record in searched(records))
    assert all(record.state == "complete" for record in records if record.confirms is not None)
    assert not any(record.passed_rungs for record in records if record.confirms is not None)


def test_without_it_or_without_rows_nothing_is_trained_again(toy: Any, tmp_path: Path) -> None:
    ledger, _ = search(toy, tmp_path / "s", confirm=0)
    assert len(ledger.records()) == 5
    found = confirmation(ledger.records(), toy.settings(**{**CHANGES, "confirm": 0}), toy.base, CS224N)
    assert found.winner is None
    assert found.claim == "not confirmed: a confirmation was not asked for (--confirm 0)"
    assert not is_confirmed(toy.settings(**CHANGES), toy.base.override({"data.confirm_share": 0.0}))


@pytest.mark.parametrize("reason", ["lost", "hung", "error"])
def test_a_training_that_was_lost_is_made_up_for_so_often_and_no_more(toy: Any, tmp_path: Path, reason: str) -> None:
    settings = toy.settings(**CHANGES)
    records = search(toy, tmp_path / "s")[0].records()
    once = failing(records, reason, Confirms(None, 0))
    assert missing(once, settings, toy.base) == [Confirms(None, 2)]
    assert confirmation(once, settings, toy.base, CS224N).claim == "not confirmed: a training is still to come"
    again = replace(next(r for r in records if r.confirms == Confirms(None, 1)), number=len(records), confirms=Confirms(None, 2))
    found = confirmation([*once, again], settings, toy.base, CS224N)
    assert found.winner is not None and found.left_out == ()
    always = failing(
        [*records, again, replace(again, confirms=Confirms(None, 3))], reason, *(Confirms(None, n) for n in range(4))
    )
    assert missing(always, settings, toy.base) == []
    assert confirmation(always, settings, toy.base, CS224N).claim == "not confirmed: a training of the reference failed"


@pytest.mark.parametrize("concurrency", [1, 3, 20])
@pytest.mark.parametrize("place", [0, 2, 5])
def test_it_is_made_up_for_by_the_driver_that_lost_it(toy: Any, tmp_path: Path, concurrency: int, place: int) -> None:
    """Whichever it is, the last one that is at work too."""
    ledger = toy.new_ledger(tmp_path / "s")
    most = referee_of(toy, ledger, **CHANGES).most_orders
    orders = drive(
        toy,
        ledger,
        by_seed,
        is_lost=lambda r: r.confirms is not None and r.number == 5 + place,
        concurrency=concurrency,
        **CHANGES,
    )
    again = [record for record in ledger.records() if record.confirms is not None]
    assert [record.number for record in again if record.state == "failed"] == [5 + place]
    assert len(again) == num_trainings(toy.settings(**CHANGES), toy.base) + 1
    assert len(orders) == 12 <= most
    assert confirmation(ledger.records(), toy.settings(**CHANGES), toy.base, CS224N).winner is not None


def test_in_a_search_that_grows_trainings_of_those_that_may_be_displaced_do_not_count(toy: Any, tmp_path: Path) -> None:
    ledger = search(toy, tmp_path / "s")[0]
    records = ledger.records()
    for num_more, to_come in ((0, 0), (1, 2), (2, 4), (3, 4)):
        settings = toy.settings(**{**CHANGES, "trials": 5 + num_more})
        assert num_to_come(records, settings, toy.base) == to_come
        assert num_held(records, settings, toy.base, num_open=num_more) == 6 - to_come
    better = drive(toy, ledger, lambda r, i: 0.9 + by_seed(r, i) / 20, **{**CHANGES, "trials": 8})
    assert sum(ledger.record(order.number).confirms is not None for order in better) == 4


def test_one_that_failed_by_its_own_config_is_not(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    for reason in ("diverged", "out_of_memory"):
        assert missing(failing(records, reason, Confirms(None, 0)), toy.settings(**CHANGES), toy.base) == []


def test_of_equal_configs_one_is_trained_again_and_the_references_never(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()[:5]
    first, second, *_ = best_trials(records, 5, toy.base)
    twin = replace(records[second], config={**records[first].config, "seed": 1})
    own = replace(records[first], config={**toy.base.to_tree(), "seed": 1})
    swapped = [{second: twin}.get(r.number, r) for r in records]
    assert best_trials(swapped, 5, toy.base) == [n for n in best_trials(records, 5, toy.base) if n != second]
    swapped = [{first: own}.get(r.number, r) for r in records]
    assert best_trials(swapped, 5, toy.base) == [n for n in best_trials(records, 5, toy.base) if n != first]


def test_who_turns_it_off_on_the_way_trains_none_to_its_end(toy: Any, tmp_path: Path) -> None:
    ledger = toy.new_ledger(tmp_path / "s")

    def die(event: str, record: TrialRecord) -> None:
        if event == "report" and record.confirms is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(toy, ledger, by_seed, die, **CHANGES)
    assert drive(toy, ledger, by_seed, **{**CHANGES, "confirm": 0}) == []


def test_where_no_trial_had_its_full_budget_there_is_nothing_to_confirm(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()[:5]
    failed = [replace(record, state="failed", reason="diverged") for record in records]
    assert missing(failed, toy.settings(**CHANGES), toy.base) == []
    found = confirmation(failed, toy.settings(**CHANGES), toy.base, CS224N)
    assert found.claim == "not confirmed: no trial of the search has had its full budget"


def test_a_studys_rows_are_not_trained_again(toy: Any) -> None:
    settings = toy.settings(**CHANGES).model_copy(update={"study": "best_fit.pooling"})
    assert not is_confirmed(settings, toy.base) and num_trainings(settings, toy.base) == 0


def test_seeds_of_other_searches_are_others(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    drawn = {
        config_of(Confirms(trial, repeat), records, toy.base, seed).seed
        for trial in (None, 0, 1)
        for repeat in range(3)
        for seed in (0, 1)
    }
    assert len(drawn) == 18


def test_a_time_budget_leaves_time_to_confirm(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's reports take two seconds each, six a trial: four trainings, two at a time, and the tail of what runs are 18."""
    now = [0.0]
    monkeypatch.setattr(referee.time, "monotonic", lambda: now[0])
    ledger = toy.new_ledger(tmp_path / "s")

    def tick(event: str, _record: TrialRecord) -> None:
        now[0] += 1.0 if event == "report" else 0.0  # two at a time

    changes = {**CHANGES, "trials": 50, "confirm": 1, "concurrency": 2, "time_budget_seconds": 60.0}
    drive(toy, ledger, by_seed, tick, **changes)
    records = ledger.records()
    assert 4 <= len(searched(records)) < 20
    assert now[0] <= 60
    found = confirmation(records, toy.settings(**changes), toy.base, CS224N)
    assert found.winner is not None and found.num_to_come == 0
    drive(toy, ledger, by_seed, **{**changes, "trials": 20, "time_budget_seconds": None})  # resumed, the others follow
    assert len(searched(ledger.records())) == 20


@pytest.mark.parametrize("seconds", [60.0, 90.0, 120.0])
def test_a_short_time_budget_is_used_and_still_confirms(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """A full training takes six seconds; the best four and the reference, three seeds each, as by default, would take 90."""
    now = [0.0]
    monkeypatch.setattr(referee.time, "monotonic", lambda: now[0])
    ledger = toy.new_ledger(tmp_path / "s")

    def tick(event: str, _record: TrialRecord) -> None:
        now[0] += 2.0 if event == "report" else 0.0

    changes = {**CHANGES, "trials": 40, "confirm": 4, "confirm_seeds": 3, "early_stopping": "asha", "concurrency": 1}
    drive(toy, ledger, by_seed, tick, **changes, time_budget_seconds=seconds)
    of_search = sum(len(record.reports) for record in searched(ledger.records())) * 2.0
    one_and_the_reference = 6.0 * (1 + 6)  # with the tail of what runs
    assert of_search >= min(seconds / 2, seconds - one_and_the_reference)
    assert now[0] - of_search >= 36


def test_what_a_confirmation_takes_is_told_by_the_reports_so_far(toy: Any, tmp_path: Path) -> None:
    records, settings = search(toy, tmp_path / "s")[0].records()[:5], toy.settings(**CHANGES)
    assert seconds_needed(records, settings, toy.base, 2) == pytest.approx(6.0 * (1 + 3))
    assert seconds_needed(records, settings, toy.base, 4) == pytest.approx(6.0 * (1 + 2))
    assert seconds_needed([replace(r, reports=()) for r in records], settings, toy.base, 2) is None
