"""Keeps a search's folder small: resume points go when their trial has ended, weights stay for the best trials alone."""

import contextlib
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from trainables.heartbeat import remove_signs
from trainables.stored_trial import CHECKPOINTS
from tuner.records import TrialRecord, rank, standing
from tuner.room import used_bytes
from tuner.search_folder import BEST, trial_folder
from tuner.stored_trials import StoredTrials

_ENDED = ("complete", "stopped", "failed")
_LOOK_SECONDS = 5.0


class Sweeper:
    """Removes what will not be needed again, now and at the end of each trial; a listener for the referee.

    Logs stay, and so does everything of a trial that may go on.

    Args:
        folder: of the search.
        records: all of its trials so far.
        keep_models: how many ended trials keep their weights; complete ones come before stopped ones.  With them one training of
            each config that is confirmed.
        stored: the trials in the search's storage; None: it has none.
    """

    def __init__(
        self, folder: Path, records: Iterable[TrialRecord], keep_models: int, stored: StoredTrials | None = None
    ) -> None:
        self._folder, self._keep_models, self._stored = folder, keep_models, stored
        self._kept: list[TrialRecord] = []
        self._sweep([record for record in records if record.state in _ENDED])

    def __call__(self, event: str, record: TrialRecord) -> None:
        """Takes in one event of the referee."""
        if event == "end":
            self._sweep([record], just_now=True)

    def _sweep(self, ended: list[TrialRecord], *, just_now: bool = False) -> None:
        candidates = {record.number: record for record in (*self._kept, *ended)}
        self._kept = [*rank(candidates.values())[: self._keep_models], *_best_trainings(candidates.values())]
        kept = {record.number for record in self._kept}
        for record in ended:
            _remove(trial_folder(self._folder, record.number) / CHECKPOINTS)
            remove_signs(trial_folder(self._folder, record.number))
        for number in candidates.keys() - kept:
            _remove(trial_folder(self._folder, number) / BEST)
        if self._stored is not None:
            new = {record.number for record in ended}
            for number in candidates:
                if number in new or number not in kept:
                    self._stored.tidy(number, keeps_model=number in kept, has_just_ended=just_now and number in new)


def _best_trainings(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Of each config that is trained again the training with the best score: one of them is exported."""
    best: dict[int | None, TrialRecord] = {}
    for record in records:
        if record.confirms is not None and record.state == "complete":
            best[record.confirms.trial] = min(best.get(record.confirms.trial, record), record, key=standing)
    return list(best.values())


class PeakDisk:
    """Looks now and then, when something has happened, how much lies in a search's folder.

    What is written and removed between two looks it does not see.  A look takes at most a twentieth of the time.

    Attributes:
        num_bytes: the most that was seen.
    """

    def __init__(self, folder: Path, num_bytes: int = 0) -> None:
        self.num_bytes = num_bytes
        self._folder, self._next = folder, 0.0

    def __call__(self, _event: str, _record: TrialRecord) -> None:
        """Takes in one event of the referee."""
        started = time.monotonic()
        if started >= self._next:
            with contextlib.suppress(OSError):  # a folder went meanwhile
                self.num_bytes = max(self.num_bytes, used_bytes(self._folder))
            self._next = started + max(_LOOK_SECONDS, 20 * (time.monotonic() - started))


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
