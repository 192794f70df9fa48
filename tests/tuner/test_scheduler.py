import json
from types import SimpleNamespace
from typing import Any

import pytest

from trainables.storage import StorageError
from trainables.trainable import FAILURE_KEY, NO_STORAGE, ORDER_KEY
from tuner.scheduler import LedgerScheduler


def test_a_storage_that_is_gone_stops_the_search_and_ends_no_trial() -> None:
    heard: list[Any] = []
    referee: Any = SimpleNamespace(end=lambda *told: heard.append(told))
    trial = SimpleNamespace(config={"number": 3, ORDER_KEY: json.dumps({"storage": "s3://b/trials/0003?region=x"})})
    result = {FAILURE_KEY: json.dumps({"reason": NO_STORAGE, "detail": "timed out"})}
    with pytest.raises(StorageError, match=r"^s3://b/trials/0003: the storage cannot be used: timed out$"):
        LedgerScheduler(referee).on_trial_result(None, trial, result)
    assert heard == []
