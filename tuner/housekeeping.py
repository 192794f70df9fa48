"""Keeps a search's folder small: resume points go when their trial has ended, weights stay for the best trials alone."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from tuner.ledger import TrialRecord
from tuner.search_folder import BEST, trial_folder

CHECKPOINTS = "checkpoints"


def sweep(folder: Path, records: Iterable[TrialRecord], keep_models: int) -> None:
    """Removes what will not be needed again.

    Logs stay, and so does everything of a trial that may go on.

    Args:
        folder: of the search.
        records: all of its trials.
        keep_models: how many ended trials keep their weights; complete ones come before stopped ones.
    """
    ended = [record for record in records if record.state in {"complete", "stopped", "failed"}]
    for record in ended:
        _remove(trial_folder(folder, record.number) / CHECKPOINTS)
    for record in rank(ended)[keep_models:]:
        _remove(trial_folder(folder, record.number) / BEST)


def rank(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials that have a score, best first: those with their full budget before all others; failed ones last."""
    order = {"complete": 2, "failed": 0}
    scored = [record for record in records if record.score is not None]
    return sorted(scored, key=lambda record: (-order.get(record.state, 1), -(record.score or 0.0), record.number))


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
