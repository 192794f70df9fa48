"""Ray's scheduler interface over the referee: every report goes to the ledger before Ray acts on it."""

import errno
import json
import os
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainables.attempts import ATTEMPT, as_next_attempt
from trainables.storage import StorageError
from trainables.trainable import DISK_FULL, FAILURE_KEY, NO_STORAGE, ORDER_KEY, REPORT_KEY

if TYPE_CHECKING:
    from tuner.referee import Referee


class LedgerScheduler(FIFOScheduler):  # type: ignore[misc]  # ray has no types
    """Stops or continues each trial as the referee says.

    A trial never says itself that it is done: Tune would then end it without asking the scheduler, and the last report would
    reach the ledger too late.  The referee sees that the budget is spent.
    """

    def __init__(self, referee: "Referee") -> None:
        super().__init__()
        self._referee = referee

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judges one result: a report, or a failure with its reason.

        Raises:
            OSError: ENOSPC, where a worker's disk is full: the search stops, and its trials, that one too, can go on later.
            StorageError: a worker could not reach the storage for long: likewise.
        """
        number = int(trial.config["number"])
        if FAILURE_KEY in result:
            failure = json.loads(result[FAILURE_KEY])
            if failure["reason"] == DISK_FULL:
                raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for trial {number}: {failure['detail']}")
            if failure["reason"] == NO_STORAGE:
                raise StorageError(json.loads(trial.config[ORDER_KEY])["storage"], failure["detail"])
            if failure["reason"] == "out_of_memory":
                return self._try_once_more(trial, number, failure["detail"])
            self._referee.end(number, "failed", failure["reason"], failure["detail"])
            return str(TrialScheduler.STOP)
        decision = self._referee.hear(number, json.loads(result.get(REPORT_KEY, "{}")))
        return str(TrialScheduler.STOP if decision == "stop" else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker is gone, as far as Ray can see: should it still live somewhere, it may write no more.

        Tune starts its trial again, unless that was only being handed over to it: then it is taken back.  The next worker knows
        which reports have been acknowledged: what it has to tell of damaged checkpoints comes with one that is new.
        """
        number = int(trial.config["number"])
        trial.config[ORDER_KEY] = json.dumps(as_next_attempt(self._referee.order_of(number).to_tree()))
        if trial.status == trial.PENDING:
            self._referee.take_back(number)

    def _try_once_more(self, trial: Any, number: int, detail: str) -> str:
        """The worker goes on by itself; should it die, Tune starts the next one with the order as it is by then."""
        order = self._referee.out_of_memory(number, detail)
        if order is None:
            return str(TrialScheduler.STOP)
        attempt = json.loads(trial.config[ORDER_KEY])[ATTEMPT]
        trial.config[ORDER_KEY] = json.dumps({**order.to_tree(), ATTEMPT: attempt})
        return str(TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune pickles its parts, and a ledger is not to be copied."""
        return {}
