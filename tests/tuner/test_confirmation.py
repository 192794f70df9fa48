"""What the trainings that confirm have come to, of a search played without Ray."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.confirming_toy import CHANGES, ConfirmingToy, confirming, failing, search
from tests.tuner.conftest import Toy
from trainables.tasks import CS224N
from tuner.confirm import best_trials, missing, num_to_come
from tuner.confirmation import Confirmation, confirmation, confirmation_of
from tuner.records import Confirms


@pytest.fixture
def toy(toy: Toy) -> ConfirmingToy:
    return confirming(toy)


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


def test_without_the_reference_there_is_nothing_to_compare_with(toy: Any, tmp_path: Path) -> None:
    records = search(toy, tmp_path / "s")[0].records()
    failed = failing(records, "diverged", Confirms(None, 0))
    found = confirmation(failed, toy.settings(**CHANGES), toy.base, CS224N)
    assert found.claim == "not confirmed: a training of the reference failed"


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
    lacks_one = {task: tree for task, tree in last["confirm"]["outcomes"].items() if task != "qqp"}
    damaged = {**last, "confirm": {**last["confirm"], "outcomes": lacks_one}}
    records[-1] = replace(records[-1], reports=(*records[-1].reports[:-1], damaged))
    assert "must hold the outcomes of its tasks" in confirmation_of(header, records).why_not
    records[-1] = replace(records[-1], reports=(*records[-1].reports[:-1], {**last, "confirm": 3}))
    assert confirmation_of(header, records).winner is None


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
