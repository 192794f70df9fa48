"""One trial in one folder: a trainer, its checkpoints, its best model and its log.

    checkpoints/report-0003/   all of the state after report 3; the newest two are kept
    best/                      the model of the best report on the most of dev (see `model.files`), with `metrics.json`
    log.txt                    a line for each report and each thing out of the ordinary

`python -m trainables.train` and a search run this very code.
"""

import json
import platform
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from trainables.background import in_background, waited_for
from trainables.balancing.loss_weights import BALANCING_FILE
from trainables.checkpoints import (
    MANIFEST,
    keep_newest,
    link_or_copy,
    newest_good,
    remove_leftovers,
    sync_checkpoint,
    verify,
    write_checkpoint,
)
from trainables.config import TrialConfig
from trainables.data.tokens import TokenStore
from trainables.inputs import check_unchanged
from trainables.memory import peak_memory_bytes
from trainables.objectives.bregman import TEACHER_FILE
from trainables.plain_files import read_json
from trainables.steps import Metrics
from trainables.stored_trial import CHECKPOINTS, LOG, METRICS, NUM_KEPT, StoredTrial
from trainables.tasks import best_report
from trainables.teacher_files import BEST
from trainables.trainer import Trainer

_MAX_TOLD = 3
"""Problems of a checkpoint that its trial's next report tells; the log has all."""
_STATE_FILES = ("optimizer.safetensors", BALANCING_FILE, TEACHER_FILE, "generators.safetensors", "state.json", MANIFEST)


class TrialSession:
    """Trains a trial, and goes on from the newest good checkpoint where there is one.

    Args:
        config: of the trial.
        folder: of the trial; made if need be.
        token_store: tokens that are open already.
        data_hashes: sha256 that data and teachers must have (`trainables.inputs.hashes_of`); None: any.
        encoder_sha256: that the encoder's weights must have; None: any.
        stored: the trial's place in a storage that all machines reach: what lies in its folder is stored there, and fetched
            from there where it is newer; None: the folder is all there is.
        say: is called with each line of the log.
        check: called before anything is written, and again before it gets its name; what it raises ends the session, which then
            leaves the folder as it is (`trainables.attempts`).

    Attributes:
        trainer: the trainer.
        folder: the trial's folder.
        resumed_from: the checkpoint it goes on from, or None.

    Raises:
        ConfigError: encoder or data cannot be used, or are not those that the hashes say.
        ValueError: the folder's checkpoints are those of another config, encoder or data.
        OSError: the disk could not write what lies in the folder.
        StorageError: the storage could not be reached for long.
    """

    def __init__(
        self,
        config: TrialConfig,
        folder: Path,
        *,
        token_store: TokenStore | None = None,
        data_hashes: Mapping[str, str] | None = None,
        encoder_sha256: str | None = None,
        stored: StoredTrial | None = None,
        say: Callable[[str], object] | None = None,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self.trainer = Trainer(config, token_store=token_store)
        check_unchanged(self.trainer.inputs, data_hashes=data_hashes, encoder_sha256=encoder_sha256)
        self._syncing: Future[None] | None = None
        self.folder, self._stored = folder, stored
        self._say, self._check = say, check
        self._passed_over: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        check()
        for parent in (folder, self._checkpoints):
            remove_leftovers(parent)
        was_fetched = False
        if stored is not None:
            was_fetched, problems = waited_for(in_background(lambda: stored.bring_newest(self._checkpoints)))
            self._log_damage(problems)
        self.resumed_from = newest_good(self._checkpoints, self._log_damage)
        if self.resumed_from is not None:
            self.trainer.load(self.resumed_from)
            self._log(f"goes on from {self.resumed_from.name}")
            if self.best_folder.exists():  # that of an older report is not made again
                self._log_damage(verify(self.best_folder))
            # Whoever wrote it may have been killed before disk and storage had it, and later reports rely on it.
            best = self._keep_best()
            self._syncing = in_background(partial(self._make_lasting, self.resumed_from, best, is_stored=was_fetched))
            self._wait_for_disk()

    @property
    def _checkpoints(self) -> Path:
        return self.folder / CHECKPOINTS

    @property
    def best_folder(self) -> Path:
        """Where the best model so far lies, once there is a report."""
        return self.folder / BEST

    @property
    def best(self) -> Metrics:
        """The report whose model is the result so far (see `trainables.tasks.best_report`)."""
        best = best_report(self.trainer.history)
        assert best is not None, "there is no report yet"
        return best

    @property
    def done(self) -> bool:
        """True after the last report."""
        return self.trainer.done

    def next_report(self, known: int | None = None) -> dict[str, Any]:
        """The report after the first `known` ones, trained for if it is not there yet; the first one comes with `applied`.

        Each says on which `host` it was trained, and the most memory that the process had held by then (`memory_bytes`).  It is
        the same whoever gives it, and however often, but that the first one after damaged checkpoints were passed over comes
        with `passed_over`, a sentence for each thing wrong.

        A trained report's checkpoint, best model and line in the log are written before it is given: a process that is killed
        loses none.  The disk is waited for at the next report, and at the last one before it is given: a machine that fails in
        between may lose the newest report, which is then trained again from the one before.

        Args:
            known: reports that the caller has; None: all that were given or loaded.  Where the checkpoint is ahead of the
                caller, the report comes from its history; where it is behind (the newer ones were lost), it is trained again.

        Raises:
            Diverged: training has no finite numbers any more.
            RuntimeError: there is no report after `known`.
            OSError: the checkpoint, or the one before it, cannot be written; an older one is still there.
        """
        known = len(self.trainer.history) if known is None else known
        while len(self.trainer.history) <= known:
            self.trainer.advance()
            metrics = self.trainer.history[-1]
            metrics |= {"host": platform.node(), "memory_bytes": peak_memory_bytes()}  # of whoever trained it, whoever gives it
            self._write_checkpoint()
            self._log(describe(metrics, self.trainer.config))
        report: dict[str, Any] = dict(self.trainer.history[known])
        if self._passed_over:
            report["passed_over"], self._passed_over = self._passed_over, []
        return report if known else {**report, "applied": self.trainer.applied}

    def _write_checkpoint(self) -> None:
        """Writes the newest checkpoint; the disk works on it while training goes on.

        The one before is on the disk by then and stays until this one is, so that even a machine that fails leaves one.
        `best/` has no one before: what a failing machine damages there is made again, as this report is trained again.
        """
        self._wait_for_disk()
        self._check()
        name = f"report-{len(self.trainer.history):04d}"
        folder = write_checkpoint(self._checkpoints, name, self.trainer.save, sync=False, check=self._check)
        best = self._keep_best()
        keep_newest(self._checkpoints, NUM_KEPT)
        self._syncing = in_background(partial(self._make_lasting, folder, best))
        if self.done:
            self._wait_for_disk()

    def _make_lasting(self, checkpoint: Path, best: list[Path], *, is_stored: bool = False) -> None:
        """On the disk, and in the storage where there is one."""
        _sync_all([checkpoint, *best])
        if self._stored is not None:
            self._stored.keep(checkpoint, best[0] if best else None, self.folder / LOG, is_stored=is_stored)

    def _wait_for_disk(self) -> None:
        if self._syncing is not None:
            syncing, self._syncing = self._syncing, None
            waited_for(syncing)

    def close(self) -> None:
        """Waits until what was written is on the disk and, where there is one, in the storage, the log's last lines too.

        Raises:
            OSError, StorageError: it cannot be written.
        """
        self._wait_for_disk()
        if (stored := self._stored) is not None:
            waited_for(in_background(lambda: stored.keep_log(self.folder / LOG)))

    def _keep_best(self) -> list[Path]:
        """Makes `best/` the model of the best report, if that is the newest one and is not there already.

        The files are second names of the checkpoint's: they cost no time and no space.

        Returns:
            The folder if it was written; it is still to be synced.
        """
        if self.best != self.trainer.history[-1] or self._saved_best() == self.best:
            return []
        checkpoint = self._checkpoints / f"report-{len(self.trainer.history):04d}"
        fill = partial(self._fill_best, checkpoint)
        return [write_checkpoint(self.folder, self.best_folder.name, fill, sync=False, check=self._check)]

    def _fill_best(self, checkpoint: Path, folder: Path) -> None:
        for file in checkpoint.rglob("*"):
            name = file.relative_to(checkpoint)
            if file.is_file() and str(name) not in _STATE_FILES:
                link_or_copy(file, folder / name)
        (folder / METRICS).write_text(json.dumps(self.best, indent=1) + "\n", encoding="utf-8")

    def _saved_best(self) -> Metrics | None:
        """The report that `best/` is of; None where there is none or it is damaged."""
        try:
            metrics: Metrics = read_json(self.best_folder / METRICS)
        except (OSError, ValueError):
            return None
        return metrics if metrics != self.best or not verify(self.best_folder) else None

    def _log_damage(self, problems: list[str]) -> None:
        self._passed_over += problems[:_MAX_TOLD]
        for problem in problems:
            self._log(f"passed over: {problem}")

    def _log(self, line: str) -> None:
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
        if self._say is not None:
            self._say(line)


def _sync_all(folders: list[Path]) -> None:
    for folder in folders:
        sync_checkpoint(folder)


def describe(metrics: Metrics, config: TrialConfig) -> str:
    """A report in one line, for people."""
    by_task = ", ".join(f"{task.name} {metrics[task.metric_key]:.4f}" for task in config.tasks.tasks)
    return (
        f"report {metrics['report']}/{config.num_reports}: {metrics['examples']} examples, score {metrics['score']:.4f} "
        f"({by_task}), "
        f"loss {metrics['loss']:.4f}, lr {metrics['lr']:.2e}, {metrics['train_seconds']:.1f} s training at "
        f"{metrics['tokens_per_second']:.0f} tokens/s, {metrics['eval_seconds']:.1f} s scoring"
    )
