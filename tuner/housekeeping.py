"""Keeps a search's folder small: resume points go when their trial has ended, weights stay for the best trials alone."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from tuner.records import TrialRecord, rank
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
    kept = {record.number for record in rank(ended)[:keep_models]}
    for record in ended:
        _remove(trial_folder(folder, record.number) / CHECKPOINTS)
        if record.number not in kept:
            _remove(trial_folder(folder, record.number) / BEST)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
