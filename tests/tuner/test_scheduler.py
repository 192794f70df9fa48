"""What Ray's events become; real runs stand in tests/end_to_end."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainables.attempts import ATTEMPT, SupersededError, check_attempt
from trainables.storage import StorageError
from trainables.trainable import FAILURE_KEY, NO_STORAGE, ORDER_KEY
from tuner.referee import Order
from tuner.scheduler import LedgerScheduler
from tuner.searcher import LedgerSearcher


def test_a_storage_that_is_gone_stops_the_search_and_ends_no_trial() -> None:
    heard: list[Any] = []
    referee: Any = SimpleNamespace(end=lambda *told: heard.append(told))
    trial = SimpleNamespace(config={"number": 3, ORDER_KEY: json.dumps({"storage": "s3://b/trials/0003?region=x"})})
    result = {FAILURE_KEY: json.dumps({"reason": NO_STORAGE, "detail": "timed out"})}
    with pytest.raises(StorageError, match=r"^s3://b/trials/0003: the storage cannot be used: timed out$"):
        LedgerScheduler(referee).on_trial_result(None, trial, result)
    assert heard == []


class Referee:
    """What the faces of Ray call, noted."""

    def __init__(self, folder: Path) -> None:
        self.order = Order(number=3, config={}, folder=str(folder), known_reports=0)
        self.calls: list[Any] = []

    def next_order(self) -> Order:
        return self.order

    def order_of(self, number: int) -> Order:
        assert number == self.order.number
        return replace(self.order, known_reports=2)

    def take_back(self, number: int) -> None:
        self.calls.append(("take back", number))

    def out_of_memory(self, number: int, detail: str) -> Order:
        return Order(number=number, config={"halved": True}, folder=self.order.folder, known_reports=2)


class Trial:
    PENDING, RUNNING, ERROR = "PENDING", "RUNNING", "ERROR"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self.status = config, self.RUNNING

    @property
    def order(self) -> dict[str, Any]:
        return dict(json.loads(self.config[ORDER_KEY]))


@pytest.fixture
def referee(tmp_path: Path) -> Referee:
    return Referee(tmp_path / "0003")


def suggested(referee: Referee) -> Trial:
    config = LedgerSearcher(referee).suggest("t3")  # type: ignore[arg-type]
    assert isinstance(config, dict)
    return Trial(config)


def test_each_worker_that_a_trial_is_handed_to_makes_an_attempt(referee: Referee) -> None:
    assert [suggested(referee).order[ATTEMPT] for _ in range(2)] == [1, 2]
    assert suggested(referee).order == {**referee.order.to_tree(), ATTEMPT: 3}


@pytest.mark.parametrize(("status", "calls"), [("ERROR", []), ("RUNNING", []), ("PENDING", [("take back", 3)])])
def test_a_worker_that_is_gone_may_write_no_more(status: str, calls: list[Any], referee: Referee) -> None:
    trial = suggested(referee)
    trial.status = status
    LedgerScheduler(referee).on_trial_error(None, trial)  # type: ignore[arg-type]
    assert (trial.order[ATTEMPT], trial.order["known_reports"], referee.calls) == (2, 2, calls)
    check_attempt(Path(referee.order.folder), 2)
    with pytest.raises(SupersededError):
        check_attempt(Path(referee.order.folder), 1)


def test_a_worker_that_goes_on_with_less_memory_is_in_the_same_attempt(referee: Referee) -> None:
    trial = suggested(referee)
    failure = {FAILURE_KEY: json.dumps({"reason": "out_of_memory", "detail": "no room"})}
    assert LedgerScheduler(referee).on_trial_result(None, trial, failure) == "CONTINUE"  # type: ignore[arg-type]
    assert (trial.order["config"], trial.order[ATTEMPT]) == ({"halved": True}, 1)
    check_attempt(Path(referee.order.folder), 1)
