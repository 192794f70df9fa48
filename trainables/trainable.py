"""A trial as Ray Tune sees it: the one file here that has heard of Ray.  It runs `trainables.session`, as `train` does.

The worker process is kept from trial to trial (`reset_config`).  Ray's own checkpoints are not used: a session finds
the newest good checkpoint in its trial's folder by itself, whether Ray starts it again after its worker died or a new
driver does.
"""

import contextlib
import json
import os
import shutil
import traceback
from functools import partial
from typing import Any

from ray.tune import Trainable

from trainables import heartbeat
from trainables.attempts import ATTEMPT, SupersededError, check_attempt, write_attempt
from trainables.config import TrialConfig
from trainables.disk import is_disk_full
from trainables.halving import halved
from trainables.memory import forget_peak_memory, hand_back_freed_memory, kill_me_first
from trainables.secrecy import keep_files_private
from trainables.storage import Storage, StorageError
from trainables.stored_trial import LOG, StoredTrial, bring_teachers, remove_abandoned, working_folder

ORDER_KEY = "order_json"
"""Key of the order in the trial's config, as JSON: Tune sends the config back with each result and flattens it twice there."""
REPORT_KEY = "report_json"
"""Result key of a report, as JSON: Tune would flatten a mapping."""
FAILURE_KEY = "failure_json"
"""Result key of a failure: JSON with `reason` and `detail`."""
DISK_FULL, NO_STORAGE = "disk_full", "no_storage"
"""Reasons of a failure that is none of the trial's: it may go on once there is room, or the storage can be reached."""
EXIT_UNUSABLE = 70
"""Exit code of a worker whose accelerator context is lost."""


class TrialTrainable(Trainable):  # type: ignore[misc]  # ray has no types
    """One trial, one report a step (see `TrialSession.next_report`).

    Its config holds an order of `tuner.referee`: `config` (a `TrialConfig` as plain values), `folder`, `known_reports`; where
    they are known `data_hashes` and `encoder_sha256`, which the files must still have; the number of the `attempt`: once the
    driver has begun another one nothing is written any more (`trainables.attempts`), and what is raised then nobody hears; and
    where trials are stored its place in the `storage`: it then works in a folder of this machine's
    (`stored_trial.working_folder`), which goes with it.
    It never raises what a trial can do wrong: it reports the reason, so that the driver decides and writes it down.  Where that
    is memory, and the driver lets it go on, it does so with half as many examples at once (`trainables.halving`).

    A process that has failed goes on with the next trial: a session shares nothing with the one before.  Not so after a CUDA
    error other than a failed allocation, after which every call to the device fails: the process then ends at the next trial's
    first step, and Tune starts that trial again in a new one, which counts as one of its restarts.  It may end neither in
    `reset_config` (Tune 2.60 never starts a trial again whose worker dies while it is reset) nor be refused there (what returns
    False ends its trial, and no searcher hears of it).
    """

    _is_unusable = False

    def setup(self, config: dict[str, Any]) -> None:
        """Notes the order; the session is opened at the first step, where a failure can be reported."""
        keep_files_private()  # whatever umask this node's Ray was started with
        order = json.loads(config[ORDER_KEY])
        self._folder = working_folder(order)
        self._place: str | None = order.get("storage")
        self._tree: dict[str, Any] = order["config"]
        self._known_reports: int = order["known_reports"]
        self._data_hashes: dict[str, str] | None = order.get("data_hashes")
        self._encoder_sha256: str | None = order.get("encoder_sha256")
        self._session: Any = None
        self._was_killed_for_memory = heartbeat.predecessor_was_killed_for_memory(self._folder)
        self._check = partial(check_attempt, self._folder, order[ATTEMPT]) if ATTEMPT in order else lambda: None
        if self._place is not None:  # the driver does not reach this folder, and in the storage names are enough
            write_attempt(self._folder, order.get(ATTEMPT, 1))
            remove_abandoned(self._folder)
        heartbeat.begin(self._folder, self._check)
        kill_me_first()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Lets go of the last trial and takes the next."""
        self._let_go()
        self.setup(new_config)
        hand_back_freed_memory()
        forget_peak_memory()  # that of the trial before
        return True

    def step(self) -> dict[str, Any]:
        """The next report, or why there is none."""
        if self._is_unusable:
            os._exit(EXIT_UNUSABLE)
        try:
            if self._was_killed_for_memory:
                self._was_killed_for_memory = False
                raise MemoryError("the kernel killed its worker, which had no memory left")
            report = self._next_report()
        except SupersededError:
            self._session = None
            raise
        except Exception as error:
            self._write_traceback()
            self._session = None  # its memory is the next trial's
            self._is_unusable = is_context_lost(error)
            if failure_reason(error) == "out_of_memory":
                self._halve()
            return {FAILURE_KEY: json.dumps({"reason": failure_reason(error), "detail": _one_line(error)})}
        self._known_reports = int(report["report"])
        return {REPORT_KEY: json.dumps(report)}

    def _next_report(self) -> dict[str, Any]:
        if self._session is None:
            from trainables.session import TrialSession  # torch: a second, and only workers need it

            heartbeat.beat()
            self._session = TrialSession(
                TrialConfig.parse(self._with_teachers()),
                self._folder,
                data_hashes=self._data_hashes,
                encoder_sha256=self._encoder_sha256,
                stored=self._stored(),
                check=self._check,
            )
        return dict(self._session.next_report(known=self._known_reports))

    def _halve(self) -> None:
        """What the driver asks for too, if it lets the trial go on."""
        smaller = halved(TrialConfig.parse(self._tree))
        self._tree = self._tree if smaller is None else smaller.to_tree()
        hand_back_freed_memory()

    def _write_traceback(self) -> None:
        """For people; a disk that is full must not hide what went wrong."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / LOG).open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())

    def cleanup(self) -> None:
        """The worker ends."""
        self._let_go()
        heartbeat.end()

    def _stored(self) -> StoredTrial | None:
        return None if self._place is None else StoredTrial(Storage(self._place))

    def _with_teachers(self) -> dict[str, Any]:
        """The config, models that teach and are stored fetched to this machine."""
        if self._place is None:
            return self._tree
        return bring_teachers(self._tree, self._folder)

    def _let_go(self) -> None:
        """Has what the trial wrote stored, and leaves nothing of it on this machine.

        Its end stands in the ledger by now, so that what cannot be stored is worth no more than a line in Ray's log.
        """
        session, self._session = self._session, None
        if (stored := self._stored()) is None:
            return
        try:
            if session is not None:
                session.close()
            else:
                stored.keep_log(self._folder / LOG)
        except OSError:
            traceback.print_exc()
        shutil.rmtree(self._folder, ignore_errors=True)

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:  # noqa: ARG002 - Tune's interface
        """Nothing: the session has saved itself before it reported."""
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: the session finds its own."""


def failure_reason(error: BaseException) -> str:
    """The ledger's word for an exception: `diverged`, `out_of_memory`, `error`; `disk_full` and `no_storage` end no trial."""
    if is_disk_full(error):
        return DISK_FULL
    if isinstance(error, StorageError):
        return NO_STORAGE
    names = {cls.__name__ for cls in type(error).__mro__}
    text = str(error).lower()
    if "Diverged" in names:
        return "diverged"
    if names & {"MemoryError", "OutOfMemoryError"} or "out of memory" in text or "can't allocate memory" in text:
        return "out_of_memory"
    return "error"


def is_context_lost(error: BaseException) -> bool:
    """True after an error that leaves a process with no way to use its accelerator again.

    A failed allocation does not: torch raises that as `OutOfMemoryError`, and the next trial may well have room.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    return "OutOfMemoryError" not in names and ("AcceleratorError" in names or "cuda error" in str(error).lower())


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
