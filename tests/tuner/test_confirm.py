"""The confirmation of a search, played without Ray: workers are a loop whose next step depends on nothing but the ledger."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tuner.conftest import Toy
from tests.tuner.played_search import by_config, drive, outcome
from trainables.outcomes import Outcome
from trainables.tasks import CS224N
from tuner import referee
from tuner.confirm import best_trials, config_of, is_confirmed, missing, num_to_come, num_trainings, seconds_needed
from tuner.confirmation import Confirmation, confirmation, confirmation_of
from tuner.ledger import Ledger
from tuner.records import Confirms, TrialRecord, rank, searched
from tuner.referee import Order

CHANGES: dict[str, Any] = {"trials": 5, "confirm": 2, "confirm_seeds": 2, "early_stopping": "none"}
LABELS = np.linspace(0, 5, 40, dtype=np.float32)


class ConfirmingToy(Toy):
    """A toy search that keeps rows for a confirmation; reports carry what became of them."""

    score = 0.0

    def report(self, index: int, score: float) -> dict[str, Any]:
        """The last one with outcomes that are the better the higher the score."""
        report = super().report(index, score)
        if index < self.base.num_reports:
            return report
        rng = np.random.default_rng(int(1e6 * score))
        right = Outcome(correct=rng.random(40) < score)
        scores = Outcome(predicted=(LABELS + rng.normal(0, 2 * (1 - score), 40)).astype(np.float32), labels=LABELS)
        outcomes = {"sst": right.to_tree(), "qqp": right.to_tree(), "sts": scores.to_tree()}
        return {**report, "confirm": {"score": score, "outcomes": outcomes}}


@pytest.fixture
def toy(toy: Toy) -> ConfirmingToy:
    return ConfirmingToy(toy.space, toy.base.override({"data.confirm_share": 0.4}), toy.template)


def by_seed(record: TrialRecord, index: int) -> float:
    """By config, and by seed a little: so that repeats differ."""
    return round(by_config(record, index) + (record.config["seed"] % 97) / 1e4, 6)


def search(toy: ConfirmingToy, folder: Path, **changes: Any) -> tuple[Ledger, list[Order]]:
    ledger = toy.new_ledger(folder)
    return ledger, drive(toy, ledger, by_seed, **{**CHANGES, **changes})


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
    assert found.claim == "not confirmed: the search was run without a confirmation (--confirm 0)"
    assert not is_confirmed(toy.settings(**CHANGES), toy.base.override({"data.confirm_share": 0.0}))


def test_what_came_of_it(toy: Any, tmp_path: Path) -> None:
    ledger, _ = search(toy, tmp_path / "s")
    records = ledger.records()
    found = confirmation(records, toy.settings(**CHANGES), toy.base, CS224N)
    assert found.num_to_come == 0
    assert found.why_not == ""
    means = [config.estimate.mean for config in found.configs]
    assert means == sorted(means, reverse=True)
    assert {config.trial for config in found.configs} == {None, *best_trials(records, 2, toy.base)}
    for config in found.configs:
        assert [records[number].confirms for number in config.trainings] == [Confirms(config.trial, 0), Confirms(config.trial, 1)]
        if config.trial is None:
            assert (config.name, config.score_search, config.shrinkage) == ("the reference", None, None)
        else:
            assert config.score_search == records[config.trial].score
            assert config.shrinkage == config.score_search - config.estimate.mean
    header = {"settings": toy.settings(**CHANGES).to_tree(), "base": toy.base.to_tree()}
    assert confirmation_of(header, records) == found


def test_while_trainings_are_to_come_nothing_is_confirmed(toy: Any, tmp_path: Path) -> None:
    ledger, _ = search(toy, tmp_path / "s")
    records, settings = ledger.records(), toy.settings(**CHANGES)
    assert num_to_come(records[:5], settings, toy.base) == 6
    assert num_to_come(records[:7], settings, toy.base) == 4
    assert num_to_come(records[:3], settings, toy.base) == 6
    part = confirmation(records[:7], settings, toy.base, CS224N)
    assert (part.winner, part.num_to_come, part.claim) == (None, 4, "not confirmed: 4 trainings are still to come")
    running = [*records[:3], replace(records[3], state="running", ended=None), records[4]]
    assert missing(running, settings, toy.base) == [Confirms(None, 0), Confirms(None, 1)]
    for part_of_it in (records[:3], running):
        found = confirmation(part_of_it, settings, toy.base, CS224N)
        assert (found.num_to_come, found.claim) == (6, "not confirmed: 6 trainings are still to come")


def test_while_the_search_runs_a_training_of_the_reference_counts_once(toy: Any, tmp_path: Path) -> None:
    ledger, _ = search(toy, tmp_path / "s", concurrency=3)
    records, settings = ledger.records(), toy.settings(**CHANGES)
    ran = [replace(records[4], state="running", ended=None), replace(records[5], state="running", ended=None)]
    assert ran[1].confirms == Confirms(None, 0)
    found = confirmation([*records[:4], *ran], settings, toy.base, CS224N)
    assert found.num_to_come == 6
    assert confirmation([*records[:4], ran[0], records[5]], settings, toy.base, CS224N).num_to_come == 5


def test_a_config_of_which_a_training_failed_cannot_win(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    winner = confirmation(records, toy.settings(**CHANGES), toy.base, CS224N).winner
    assert winner is not None
    fails = winner.trainings[1]
    records[fails] = replace(records[fails], state="failed", reason="diverged")
    found = confirmation(records, toy.settings(**CHANGES), toy.base, CS224N)
    assert winner.trial not in {config.trial for config in found.configs}
    assert found.left_out == (f"{winner.name}: 1 of 2 trainings failed (trial {fails} diverged)",)


def failing(records: list[TrialRecord], reason: str, *which: Confirms) -> list[TrialRecord]:
    return [replace(r, state="failed", reason=reason) if r.confirms in which else r for r in records]


def test_without_the_reference_there_is_nothing_to_compare_with(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    failed = failing(records, "diverged", Confirms(None, 0))
    found = confirmation(failed, toy.settings(**CHANGES), toy.base, CS224N)
    assert found.claim == "not confirmed: a training of the reference failed"


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


def test_one_that_failed_by_its_own_config_is_not(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    for reason in ("diverged", "out_of_memory"):
        assert missing(failing(records, reason, Confirms(None, 0)), toy.settings(**CHANGES), toy.base) == []


def test_a_training_that_was_not_scored_on_the_rows_that_were_kept_is_named(toy: Any, tmp_path: Path) -> None:
    """As when its last report came from a version that kept none."""
    records = search(toy, tmp_path / "s")[0].records()
    best = best_trials(records, 2, toy.base)[1]
    [one, *_] = [r for r in records if r.confirms is not None and r.confirms.trial == best]
    bare = replace(one, reports=tuple({k: v for k, v in report.items() if k != "confirm"} for report in one.reports))
    without = [bare if record is one else record for record in records]
    found = confirmation(without, toy.settings(**CHANGES), toy.base, CS224N)
    why = f"(trial {one.number} was not scored on the rows that were kept)"
    assert found.left_out == (f"trial {best}: 1 of 2 trainings failed {why}",)


def test_a_config_with_fewer_trainings_than_asked_for_does_not_compete(toy: Any, tmp_path: Path) -> None:
    """The confirmation was cut after one seed of each, and goes on with fewer configs."""
    records = search(toy, tmp_path / "s")[0].records()
    best, second = best_trials(records, 2, toy.base)
    cut = [r for r in records if r.confirms is None or r.confirms.repeat == 0 or r.confirms.trial in (None, best)]
    fewer = toy.settings(**{**CHANGES, "confirm": 1})
    found = confirmation(cut, fewer, toy.base, CS224N)
    assert {config.trial for config in found.configs} == {None, best}
    assert found.left_out == (f"trial {second}: 1 trainings, fewer than the others have",)
    assert confirmation(cut, toy.settings(**CHANGES), toy.base, CS224N).num_to_come == 1


def test_while_the_search_goes_on_all_that_may_come_is_to_come(toy: Any, tmp_path: Path) -> None:
    records, settings = search(toy, tmp_path / "s")[0].records(), toy.settings(**CHANGES)
    first = [*records[:1], replace(records[1], state="running", ended=None)]
    assert confirmation(first, settings, toy.base, CS224N).num_to_come == 6
    none = [replace(records[0], state="running", ended=None)]
    assert confirmation(none, settings, toy.base, CS224N).claim.endswith("no trial of the search has had its full budget yet")


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


def test_what_cannot_be_read_confirms_nothing(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    header = {"settings": toy.settings(**CHANGES).to_tree(), "base": toy.base.to_tree()}
    assert confirmation_of(header, records).winner is not None
    of_a_later_version = {**header, "settings": {**header["settings"], "from_the_future": 1}}
    assert "from_the_future" in confirmation_of(of_a_later_version, records).why_not
    last = records[-1].reports[-1]
    damaged = {**last, "confirm": {**last["confirm"], "outcomes": {"sst": {"rows": 3}}}}
    records[-1] = replace(records[-1], reports=(*records[-1].reports[:-1], damaged))
    assert "outcomes" in confirmation_of(header, records).why_not
    records[-1] = replace(records[-1], reports=(*records[-1].reports[:-1], {**last, "confirm": 3}))
    assert confirmation_of(header, records).winner is None


def test_a_studys_rows_are_not_trained_again(toy: Any) -> None:
    settings = toy.settings(**CHANGES).model_copy(update={"study": "best_fit.pooling"})
    assert not is_confirmed(settings, toy.base) and num_trainings(settings, toy.base) == 0


def test_what_is_said_of_the_winner(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    found = confirmation(records, toy.settings(**CHANGES), toy.base, CS224N)
    best, reference = (next(c for c in found.configs if (c.trial is None) is is_reference) for is_reference in (False, True))
    clear = replace(best, estimate=replace(best.estimate, mean=0.7, gain=0.05, gain_low=0.01, gain_high=0.09))
    unclear = replace(clear, estimate=replace(clear.estimate, gain_low=-0.01))
    interval = "+0.0500 over the reference config (95 % interval {} to +0.0900, for the best of 1)"
    assert Confirmation((clear, reference)).claim == (
        f"trial {best.trial} is better: 0.7000 on rows and seeds that the search had not seen, {interval.format('+0.0100')}"
    )
    assert Confirmation((unclear, reference)).claim == (
        f"the search found nothing better: the gain of its best, trial {best.trial}, {interval.format('-0.0100')}, may be none"
    )
    assert Confirmation((reference, unclear)).claim.startswith("the search found nothing better: the reference config itself")


def test_of_a_config_whose_training_failed_nothing_is_said(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    winner = confirmation(records, toy.settings(**CHANGES), toy.base, CS224N).winner
    assert winner is not None
    records[winner.trainings[1]] = replace(records[winner.trainings[1]], state="failed", reason="diverged")
    found = confirmation(records, toy.settings(**CHANGES), toy.base, CS224N)
    for number in winner.trainings:
        assert found.said_of(records[number]) == f"not confirmed: not all trainings of {winner.name}'s config ended well"
    others = [r for r in records[:5] if r.number not in {config.trial for config in found.configs}]
    assert len(others) > 3
    assert all(found.said_of(r) == f"not confirmed: trial {r.number} is not among those that were" for r in others)


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
