"""One trial in a storage that all machines reach, and what of it lies on this machine meanwhile.

    checkpoints/report-0003/   as in a trial's folder; the newest two are kept
    best/report-0003/          the model of the best report
    log.txt

A name says what is in it, and a trial's numbers follow from its config: a worker that was thought dead and returns stores what is
there already, and removes nothing that is newer.
"""

import contextlib
import hashlib
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from trainables.background import in_background, waited_for
from trainables.checkpoints import newest_good, number_of
from trainables.files import cache_folder
from trainables.heartbeat import read_beat
from trainables.plain_files import parse_json
from trainables.storage import DamagedError, Storage, insisted
from trainables.teacher_files import BEST

T = TypeVar("T")
P = ParamSpec("P")
CHECKPOINTS, LOG, METRICS = "checkpoints", "log.txt", "metrics.json"
NUM_KEPT = 2
"""Newest checkpoints that a trial keeps."""
PATIENCE_SECONDS = 600.0
"""How long a worker goes on trying where a storage cannot be reached."""
ABANDONED_SECONDS = 3600.0


class StoredTrial:
    """A trial's place in a storage.

    Args:
        storage: its place.
        patience_seconds: for which each method tries again where the storage cannot be reached; then it raises `StorageError`.
    """

    def __init__(self, storage: Storage, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._storage, self._patience_seconds = storage, patience_seconds

    def bring_newest(self, checkpoints: Path) -> tuple[bool, list[str]]:
        """Fetches the newest good checkpoint, unless this machine has it or a newer one.

        Returns:
            Whether one was fetched, and what is wrong with each that was passed over.
        """
        here = newest_good(checkpoints)
        problems: list[str] = []
        for name in reversed(self._insist(self._storage.sealed, CHECKPOINTS)):
            if here is not None and number_of(here) >= number_of(Path(name)):
                break
            try:
                self._insist(self._storage.get, f"{CHECKPOINTS}/{name}", checkpoints, name)
                return True, problems
            except DamagedError as error:
                problems += error.problems
            except FileNotFoundError:  # somebody else has removed it for a newer one
                continue
        return False, problems

    def keep(self, checkpoint: Path, best: Path | None, log: Path, *, is_stored: bool = False) -> None:
        """Stores the newest checkpoint, the model of its report where that is the best, and the log; removes what is older.

        Args:
            checkpoint: sealed.
            best: likewise; None: it is not that of the newest report.
            log: a file, if it is there.
            is_stored: the checkpoint came from the storage.
        """
        self._insist(self._keep, checkpoint, best, log, is_stored=is_stored)

    def keep_log(self, log: Path) -> None:
        """Stores the log as it is."""
        if log.exists():
            self._insist(self._storage.write, LOG, log.read_bytes())

    def best_score(self) -> float | None:
        """The score of the model that is stored; None where there is none."""
        for name in reversed(self._insist(self._storage.sealed, BEST)):
            content = self._insist(self._storage.read, f"{BEST}/{name}/{METRICS}") or b""
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return float(parse_json(content.decode("utf-8"))["score"])
        return None

    def bring_best(self, folder: Path) -> Path | None:
        """Fetches the newest of the stored models to `folder / "best"`; None where there is none.

        Raises:
            DamagedError: it is not what its manifest says.
        """
        for name in reversed(self._insist(self._storage.sealed, BEST)):
            with contextlib.suppress(FileNotFoundError):
                return self._insist(self._storage.get, f"{BEST}/{name}", folder, BEST)
        return None

    def log(self) -> bytes | None:
        """The log; None where there is none."""
        return self._insist(self._storage.read, LOG)

    def look_over(self) -> tuple[int, list[str]]:
        """How many checkpoints and models have all their files, and what is wrong with the others; none of them is fetched."""
        num_good = 0
        problems: list[str] = []
        for what in (CHECKPOINTS, BEST):
            for name in self._insist(self._storage.sealed, what):
                wrong = self._insist(self._storage.problems_of, f"{what}/{name}")
                num_good, problems = num_good + (not wrong), problems + wrong[:1]
        return num_good, problems

    def remove(self, what: str) -> None:
        """Removes all checkpoints, or the models (`best`)."""
        self._insist(self._storage.remove, what)

    def _keep(self, checkpoint: Path, best: Path | None, log: Path, *, is_stored: bool) -> None:
        stored = f"{CHECKPOINTS}/{checkpoint.name}"
        if not is_stored:
            self._storage.put(checkpoint, stored)
        if best is not None:
            self._storage.put(best, f"{BEST}/{checkpoint.name}", copied_from=stored)
        for what, num_kept in ((CHECKPOINTS, NUM_KEPT), (BEST, 1)):
            for name in self._storage.sealed(what)[:-num_kept]:
                self._storage.remove(f"{what}/{name}")
        if log.exists():
            self._storage.write(LOG, log.read_bytes())

    def _insist(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return insisted(partial(action, *args, **kwargs), self._patience_seconds)


def working_folder(order: Mapping[str, Any]) -> Path:
    """The folder that an order's trial works in: its own, or one of this machine's where it has a place in a `storage`.

    On this machine is in its cache and there by its name, for homes may be shared.
    """
    uri = order.get("storage")
    if uri is None:
        return Path(order["folder"])
    trial = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return cache_folder() / "trials" / platform.node() / f"{trial}-{uri.partition('?')[0].rpartition('/')[2]}"


def bring_teachers(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A config's tree with the models that teach, where they are stored, fetched to `folder`.

    Raises:
        StorageError: the storage cannot be reached.
        DamagedError: a model is not what its manifest says.
        FileNotFoundError: there is none.
    """
    distill = tree.get("objective", {}).get("distill", {})
    stored = {task: name for task, name in distill.get("teachers", {}).items() if isinstance(name, str) and "://" in name}
    if not stored:
        return tree
    brought = {task: str(_bring_teacher(uri, folder / "teachers" / task)) for task, uri in stored.items()}
    teachers = {**distill["teachers"], **brought}
    return {**tree, "objective": {**tree["objective"], "distill": {**distill, "teachers": teachers}}}


def _bring_teacher(uri: str, folder: Path) -> Path:
    trial = StoredTrial(Storage(uri))
    best = waited_for(in_background(lambda: trial.bring_best(folder)))
    if best is None:
        raise FileNotFoundError(f"{uri}: the model that teaches is not there")
    return best


def remove_abandoned(folder: Path) -> None:
    """Removes the working folders beside one whose workers were killed an hour ago or longer; what they had stored is stored."""
    for other in folder.parent.glob("*"):
        beat = read_beat(other)
        if other != folder and beat is not None and not 0 <= time.monotonic() - beat.moment <= ABANDONED_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
