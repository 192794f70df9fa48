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
from tuner.confirm import (
    Confirmation,
    best_trials,
    config_of,
    confirmation,
    confirmation_of,
    is_confirmed,
    missing,
    num_to_come,
    num_trainings,
    seconds_needed,
)
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
    assert {confirms.trial for confirms in confirmed} >= {None, *best_trials(after, 2)}


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
    assert {config.trial for config in found.configs} == {None, *best_trials(records, 2)}
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


def test_a_config_of_which_a_training_failed_cannot_win(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    winner = confirmation(records, toy.settings(**CHANGES), toy.base, CS224N).winner
    assert winner is not None
    fails = winner.trainings[1]
    records[fails] = replace(records[fails], state="failed", reason="diverged")
    found = confirmation(records, toy.settings(**CHANGES), toy.base, CS224N)
    assert winner.trial not in {config.trial for config in found.configs}
    assert found.left_out == (f"{winner.name}: 1 of 2 trainings failed (trial {fails} diverged)",)


def test_without_the_reference_there_is_nothing_to_compare_with(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    failed = [replace(r, state="failed", reason="hung") if r.confirms == Confirms(None, 0) else r for r in records]
    found = confirmation(failed, toy.settings(**CHANGES), toy.base, CS224N)
    assert found.winner is None
    assert found.claim == "not confirmed: a training of the reference failed"


def test_where_no_trial_had_its_full_budget_there_is_nothing_to_confirm(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()[:5]
    failed = [replace(record, state="failed", reason="diverged") for record in records]
    assert missing(failed, toy.settings(**CHANGES), toy.base) == []
    found = confirmation(failed, toy.settings(**CHANGES), toy.base, CS224N)
    assert found.claim == "not confirmed: no trial of the search has had its full budget"


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
    others = [r for r in records[:5] if r.number not in best_trials(records, 2)]
    assert [found.said_of(r) for r in others] == [
        f"not confirmed: trial {r.number}'s config was not trained again" for r in others
    ]


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


def test_what_a_confirmation_takes_is_told_by_the_reports_so_far(toy: Any, tmp_path: Path) -> None:
    records, settings = search(toy, tmp_path / "s")[0].records()[:5], toy.settings(**CHANGES)
    assert seconds_needed(records, settings, toy.base, 2) == pytest.approx(6.0 * (1 + 3))
    assert seconds_needed(records, settings, toy.base, 4) == pytest.approx(6.0 * (1 + 2))
    assert seconds_needed([replace(r, reports=()) for r in records], settings, toy.base, 2) is None
