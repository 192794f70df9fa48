"""The trials of a search in a storage that all machines reach, as its driver sees them.

    <storage>/<name>-<id>/claim                  who goes on with it
    <storage>/<name>-<id>/trials/0007/           see `trainables.stored_trial`

A storage that is slow or cannot be reached holds nobody up here: what is to be fetched or removed is queued.
"""

import contextlib
import re
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from trainables.parts import ConfigError
from trainables.storage import Storage, StorageError, below, check_storage_uri, shown
from trainables.stored_trial import CHECKPOINTS, LOG, StoredTrial
from tuner.search_folder import BEST, TRIALS, trial_folder

if TYPE_CHECKING:
    from tuner.ledger import Ledger

CLAIM, NEXT_CLAIM, PLACE = "storage_claim", "storage_next_claim", "storage_place"
"""Keys of the ledger's header: what the driver last wrote into the claim, what it is about to write, the search's own folder."""
_CLAIM_FILE = "claim"
_PATIENCE_SECONDS = 5.0


def trial_place(storage: str, number: int) -> str:
    """The address of a trial in its search's place."""
    return below(storage, TRIALS, f"{number:04d}")


def stored_trial(storage: str, number: int) -> StoredTrial:
    """A trial in its search's place, for somebody who does not want to wait long."""
    return StoredTrial(Storage(trial_place(storage, number)), _PATIENCE_SECONDS)


def check_storage(text: str) -> str:
    """The address of a storage, which is there and can be written to.

    Raises:
        ConfigError: it is none, or it cannot be used.
    """
    try:
        uri = check_storage_uri(text)
        probe = f".tritune-probe-{secrets.token_hex(8)}"
        storage = Storage(uri)
        storage.write(probe, b"tritune")
        seen = storage.read(probe)
        storage.delete(probe)
    except (OSError, ValueError) as error:
        raise ConfigError([f"--storage: {error}"]) from None
    if seen != b"tritune":
        raise ConfigError([f"--storage: {shown(uri)}: what is written there cannot be read back"])
    return uri


def search_place(header: dict[str, object], storage: str | None) -> str | None:
    """A search's own place in its storage; None where it has none.

    Args:
        header: of its ledger.
        storage: of its settings.
    """
    return None if storage is None else below(storage, str(header[PLACE]))


def new_place(name: str, id_: str) -> str:
    """The name of a new search's place, which no other search has, in characters that need no quoting anywhere."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}-{id_[:8]}"


def claim(ledger: "Ledger", storage: str) -> None:
    """Makes this search the one that goes on with its place in a storage.

    A copy of its folder has the same place; were both to go on, each would take the other's trials for its own.  So whoever goes
    on writes down a new claim, there and in its ledger, and goes on only where the old one stands in both.

    Raises:
        ConfigError: somebody else has gone on with it, nothing of the search is there, or it cannot be reached.
    """
    place = Storage(storage)
    try:
        if problem := problem_of_claim(ledger.header, storage):
            raise ConfigError([f"--storage: {problem}"])
        new = secrets.token_hex(16)
        ledger.set_header(NEXT_CLAIM, new)
        place.write(_CLAIM_FILE, new.encode())
        ledger.set_header(CLAIM, new)
    except StorageError as error:
        raise ConfigError([f"--storage: {error}"]) from None


def problem_of_claim(header: Mapping[str, object], storage: str) -> str:
    """Why a search may not go on with its place in a storage, in a sentence; empty: it may.

    Where its claim alone is gone from there, nobody else has gone on with it: whoever does writes one.

    Raises:
        StorageError: it cannot be reached.
    """
    known, place = {header[key] for key in (CLAIM, NEXT_CLAIM) if key in header}, Storage(storage)
    there = (place.read(_CLAIM_FILE) or b"").decode("utf-8", errors="replace")
    if known and not there and not place.holds(TRIALS):
        lost = "if that is lost for good, its models are, too, and a new search begins anew"
        return f"nothing of this search stands in {shown(storage)}; copy there first what was stored ({lost})"
    if there and there not in known:
        other = f"the search that this folder was copied from, or to, has gone on with {shown(storage)}"
        return f"{other}, which is ahead of this ledger: go on with the other, or copy its folder and its storage at one time"
    return ""


class StoredTrials:
    """Fetches the logs of trials that have ended, and removes what of them will not be needed again, in a thread of its own.

    Args:
        storage: the search's place.
        folder: of the search.

    Attributes:
        uri: of the place.
    """

    def __init__(self, storage: str, folder: Path) -> None:
        self.uri, self._folder = storage, folder
        self._wanted: SimpleQueue[tuple[int, bool] | None] = SimpleQueue()
        self._ended: dict[int, bool] = {}
        self._problem = ""
        self._thread = threading.Thread(target=self._work, name="tritune-storage", daemon=True)
        self._thread.start()

    def tidy(self, number: int, *, keeps_model: bool, has_just_ended: bool = False) -> None:
        """A trial has ended: its checkpoints go, and its model where it is not one of the best.

        Args:
            number: of the trial.
            keeps_model: whether it is.
            has_just_ended: its worker may still be storing: it is looked at once more at the end.
        """
        if has_just_ended or number in self._ended:
            self._ended[number] = keeps_model
        self._wanted.put((number, keeps_model))

    def close(self, seconds: float) -> str:
        """Waits until all is done, but no longer than `seconds`.

        Returns:
            What could not be done, in a sentence; empty: nothing.
        """
        for number, keeps_model in self._ended.items():
            self._wanted.put((number, keeps_model))
        self._wanted.put(None)
        self._thread.join(seconds)
        late = f"{shown(self.uri)}: not all that is no longer needed was removed; the next --resume does"
        return self._problem or (late if self._thread.is_alive() else "")

    def _work(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            try:
                self._tidy(*wanted)
                self._problem = ""
            except StorageError as error:
                self._problem = f"{error}; what is no longer needed there is removed by the next --resume"

    def _tidy(self, number: int, keeps_model: bool) -> None:
        trial = stored_trial(self.uri, number)
        if (log := trial.log()) is not None:
            with contextlib.suppress(OSError):  # it is there to be read, and can be fetched again
                folder = trial_folder(self._folder, number)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / LOG).write_bytes(log)
        for what in (CHECKPOINTS, *([] if keeps_model else [BEST])):
            trial.remove(what)
