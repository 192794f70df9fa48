"""Ray's searcher interface over the referee: it hands out what the referee orders and keeps nothing itself."""

import json
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from trainables.attempts import as_next_attempt
from trainables.trainable import ORDER_KEY

if TYPE_CHECKING:
    from tuner.referee import Referee


class LedgerSearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """The referee as Tune's searcher."""

    def __init__(self, referee: "Referee") -> None:
        super().__init__()
        self._referee = referee
        self._out: dict[str, int] = {}  # Tune's id -> number of each trial that it has

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial, in a new attempt; None: not yet, for a trial that is out may come back; or `Searcher.FINISHED`."""
        order = self._referee.next_order()
        if isinstance(order, str):
            return str(Searcher.FINISHED) if order == "finished" and not self._out else None
        self._out[trial_id] = order.number
        return {"number": order.number, ORDER_KEY: json.dumps(as_next_attempt(order.to_tree()))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler has told the referee, before it decided."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial whose worker is gone for good ends as lost; all others were told before Ray stopped them, or taken back."""
        number = self._out.pop(trial_id)
        if error and not self._referee.is_to_start(number):
            self._referee.end(number, "failed", "lost", "its worker died and could not be started again")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what it knows stands in the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a new driver opens the ledger."""

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune pickles its parts, and a ledger is not to be copied."""
        return {}
