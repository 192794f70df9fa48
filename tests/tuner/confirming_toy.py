"""A toy search that confirms its best, played without Ray."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.tuner.conftest import Toy
from tests.tuner.played_search import by_config, drive
from trainables.outcomes import Outcome
from tuner.ledger import Ledger
from tuner.records import Confirms, TrialRecord
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


def confirming(toy: Toy) -> ConfirmingToy:
    """The same search, which keeps rows."""
    return ConfirmingToy(toy.space, toy.base.override({"data.confirm_share": 0.4}), toy.template)


def by_seed(record: TrialRecord, index: int) -> float:
    """By config, and by seed a little: so that repeats differ."""
    return round(by_config(record, index) + (record.config["seed"] % 97) / 1e4, 6)


def search(toy: ConfirmingToy, folder: Path, **changes: Any) -> tuple[Ledger, list[Order]]:
    ledger = toy.new_ledger(folder)
    return ledger, drive(toy, ledger, by_seed, **{**CHANGES, **changes})


def failing(records: list[TrialRecord], reason: str, *which: Confirms) -> list[TrialRecord]:
    return [replace(r, state="failed", reason=reason) if r.confirms in which else r for r in records]
