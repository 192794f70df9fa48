"""The Tune run: Ray does the work, the referee decides."""

from pathlib import Path
from typing import Any

from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner, with_resources
from ray.tune.execution import class_cache

from trainables.trainable import TrialTrainable
from tuner.interrupts import Interrupts
from tuner.referee import Referee
from tuner.room import Room
from tuner.scheduler import LedgerScheduler
from tuner.searcher import LedgerSearcher
from tuner.settings import SearchSettings
from tuner.watchdog import Watchdog

_MAX_RESTARTS = 3


def run_trials(
    referee: Referee,
    settings: SearchSettings,
    *,
    num_slots: int,
    scratch: Path,
    interrupts: Interrupts,
    room: Room | None = None,
    trainable: type[TrialTrainable] = TrialTrainable,
) -> None:
    """Runs what the referee hands out, until nothing is left, the time is up, or somebody interrupts.

    Whatever is unfinished on return stands in the ledger as running and can be taken up again.  A trial whose worker dies
    is started again from its newest good checkpoint, at most three times; one that hangs is ended (see `tuner.watchdog`).

    Args:
        referee: hands out trials and judges reports; has something to start (Tune fails on nothing).
        settings: resources and time budget.
        num_slots: trials at once.
        scratch: where Tune may write; never read back.
        interrupts: looked at between two steps.
        room: on the disks, looked at likewise; None: not looked at.
        trainable: what runs a trial.

    Raises:
        KeyboardInterrupt: a signal ended it.
        OSError, TuneError: a disk is full (`trainables.disk.is_disk_full` tells), or something else went wrong.
    """
    assert referee.num_to_start > 0, "there must be a trial to start"
    keep_keys_off_command_lines()
    tuner = Tuner(
        with_resources(trainable, {"cpu": settings.cpus_per_trial, "gpu": settings.gpus_per_trial}),
        tune_config=TuneConfig(
            search_alg=LedgerSearcher(referee),
            scheduler=LedgerScheduler(referee),
            num_samples=referee.most_orders,
            max_concurrent_trials=num_slots,
            time_budget_s=settings.time_budget_seconds,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name="trials",
            storage_path=str(scratch / "tune"),
            verbose=0,
            callbacks=[_Check(interrupts, room), Watchdog(referee, settings.hang_limit_seconds)],
            failure_config=FailureConfig(max_failures=_MAX_RESTARTS),
            checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    tuner.fit()


def keep_keys_off_command_lines() -> None:
    """Has Tune hand no `AWS_*` variable to its workers: they would stand in each worker's command line, for all to see in `ps`.

    Workers of this machine have the driver's environment anyway, those of other hosts that of their own.
    """
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")}


class _Check(Callback):  # type: ignore[misc]  # ray has no types
    """Lets an interruption through between two steps of Tune, and a disk that is nearly full.

    Tune's own handling, which waits for every trial's current step, is switched off: a step may take minutes, and nothing is
    lost without it, for reports and checkpoints are written before they are acted on.
    """

    def __init__(self, interrupts: Interrupts, room: Room | None) -> None:
        self._interrupts, self._room = interrupts, room

    def on_step_begin(self, **_info: Any) -> None:
        """Tune's hook, ten times a second or more often."""
        self._interrupts.check()
        if self._room is not None:
            self._room.check()

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune pickles its parts."""
        return {}
