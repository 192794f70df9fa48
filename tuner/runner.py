"""The Tune run: Ray does the work, the referee decides."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from trainables.trainable import TrialTrainable
from tuner.referee import Referee
from tuner.scheduler import LedgerScheduler
from tuner.searcher import LedgerSearcher
from tuner.settings import SearchSettings

_MAX_RESTARTS = 3
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_trials(
    referee: Referee,
    settings: SearchSettings,
    *,
    num_slots: int,
    scratch: Path,
    trainable: type[TrialTrainable] = TrialTrainable,
) -> bool:
    """Runs what the referee hands out, until nothing is left, the time is up, or somebody interrupts.

    Whatever is unfinished on return stands in the ledger as running and can be taken up again.  A trial whose worker dies
    is started again from its newest good checkpoint, at most three times.

    Args:
        referee: hands out trials and judges reports; has something to start (Tune fails on nothing).
        settings: resources and time budget.
        num_slots: trials at once.
        scratch: where Tune may write; never read back.
        trainable: what runs a trial.

    Returns:
        True where a signal ended it.
    """
    from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner, with_resources

    assert referee.num_to_start > 0, "there must be a trial to start"
    tuner = Tuner(
        with_resources(trainable, {"cpu": settings.cpus_per_trial, "gpu": settings.gpus_per_trial}),
        tune_config=TuneConfig(
            search_alg=LedgerSearcher(referee),
            scheduler=LedgerScheduler(referee),
            num_samples=referee.num_to_start,
            max_concurrent_trials=num_slots,
            time_budget_s=settings.time_budget_seconds,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name="trials",
            storage_path=str(scratch / "tune"),
            verbose=0,
            failure_config=FailureConfig(max_failures=_MAX_RESTARTS),
            checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    with _signals_interrupt() as interrupted:
        try:
            tuner.fit()
        except KeyboardInterrupt:
            assert interrupted
    return bool(interrupted)


@contextmanager
def _signals_interrupt() -> Iterator[list[int]]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, once; yields the list that they are noted in.

    Tune's own handling, which waits for every trial's current step, is switched off: a step may take minutes, and nothing is
    lost without it, for reports and checkpoints are written before they are acted on.
    """
    seen: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if not seen:
            seen.append(number)
            raise KeyboardInterrupt

    wanted = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup stays nohup
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
