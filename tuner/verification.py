"""An export is trained again: does it score what its record says?

The config of the export, its seed, its data; without Ray, and on the disk there is nothing of it afterwards but the caches that
every training shares.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from trainables.data.more_rows import names_beside
from trainables.exported import read_export
from trainables.inputs import Inputs, check_unchanged, differences, open_inputs, with_absolute_paths
from trainables.parts import ConfigError
from trainables.paths import values_at
from trainables.plain_files import read_json
from trainables.stored_trial import METRICS
from tuner.lineage import describe_code_and_machine
from tuner.records import judged_score

TOLERANCES = {"fp32": 1e-6, "tf32": 5e-3, "bf16": 5e-3}
"""How far the score of an exported model may lie from the recorded one, by precision: nothing on the machine that trained it in
fp32; in the coarser ones a few rows are decided otherwise where the export runs on another device."""
LINEAGE = "lineage.json"
_DECIDE_DIGITS = ("python", "packages.torch", "packages.numpy", "packages.tokenizers", "hardware.cpu", "hardware.gpus")


@dataclass(frozen=True)
class Verification:
    """What training it again gave.

    Attributes:
        recorded: the score in the export's record.
        now: the same report's score; NaN where training diverged.
        interval: 95 % interval in the record, of the mean of the trainings of its config; None: there is none.
        num_trainings: how many that are; None: the record does not say.
        tolerance: how far the scores may lie apart to be the same.
        elsewhere: `what: recorded, here` for each thing in which the environment is another one and that last digits hang on.
    """

    recorded: float
    now: float
    interval: tuple[float, float] | None
    tolerance: float
    elsewhere: tuple[str, ...] = ()
    num_trainings: int | None = None

    @property
    def is_verified(self) -> bool:
        """Whether it is the recorded score, which may itself lie outside the interval of a mean, or lies inside that."""
        return self.is_same or self.is_inside

    @property
    def is_same(self) -> bool:
        """Whether it is the recorded score."""
        return abs(self.now - self.recorded) <= self.tolerance

    @property
    def is_inside(self) -> bool:
        """Whether it lies inside the interval; False without one."""
        return self.interval is not None and self.interval[0] <= self.now <= self.interval[1]

    def lines(self) -> list[str]:
        """For people."""
        same = "the same" if self.is_same else f"{self.now - self.recorded:+.6f}"
        told = [f"recorded score {self.recorded:.6f}", f"score now      {self.now:.6f}   ({same})"]
        if self.interval is None:
            told.append("interval       none: it was not confirmed")
        else:
            low, high = self.interval
            of = f"the mean of {self.num_trainings or 'the'} trainings"
            inside = "inside" if self.is_inside else "outside, as that of one training may" if self.is_same else "OUTSIDE"
            told.append(f"interval       {low:.6f} to {high:.6f}, of {of}: the score lies {inside}")
        return told + [f"not as recorded: {line}" for line in self.elsewhere]


@dataclass(frozen=True)
class Recorded:
    """An export whose record and inputs were looked at.

    Attributes:
        folder: of the export.
        inputs: what it starts from, as it was.
        score: of the report that its model is of.
        report: the number of that report.
        interval: 95 % interval of the mean of the trainings of its config; None: there is none.
        lineage: as it stands in the export.
        num_trainings: that the interval is of; None: the record does not say.
    """

    folder: Path
    inputs: Inputs
    score: float
    report: int
    interval: tuple[float, float] | None
    lineage: Mapping[str, Any]
    num_trainings: int | None = None


def look_at(folder: Path, data: str | None = None) -> Recorded:
    """Looks at all that training an export again takes; nothing is trained, and no torch imported.

    Args:
        folder: the export, or the folder of a search with one in its `best/`.
        data: where its data lie now; None: where they lay.

    Raises:
        DataChangedError: data, teachers or encoder are not what they were; names each.
        ConfigError: no whole export, or data or encoder that cannot be read.
    """
    folder, config = read_export(folder)
    score, report, interval, num_trainings = _read_metrics(folder / METRICS)
    lineage = _read_lineage(folder / LINEAGE)
    if report > config.num_reports:
        raise ConfigError([f"{folder / METRICS}: best_report.report <= {config.num_reports} must hold, but got {report}"])
    inputs = open_inputs(config if data is None else _with_source(config, data))
    check_unchanged(inputs, data_hashes=lineage.get("data_hashes"), encoder_sha256=lineage.get("encoder_sha256"))
    return Recorded(folder, inputs, score, report, interval, lineage, num_trainings)


def import_libraries() -> None:
    """Imports what training takes seconds to import: a signal that falls into that is swallowed by code that is imported."""
    import trainables.session
    import trainables.trainer  # noqa: F401


def train_again(recorded: Recorded, say: Callable[[str], object] = lambda _line: None) -> Verification:
    """Trains an export again, up to the report that its model is of.

    Args:
        recorded: what was looked at.
        say: is called with a line for each report.
    """
    from trainables.session import describe
    from trainables.trainer import Diverged, Trainer

    config = recorded.inputs.config
    say(f"training {recorded.folder} again: {recorded.report} of {config.num_reports} reports, seed {config.seed}")
    trainer, now = Trainer(config, token_store=recorded.inputs.store), math.nan
    try:
        while len(trainer.history) < recorded.report:
            metrics = trainer.advance()
            say(describe(metrics, trainer.config))
            now = judged_score(metrics)
    except Diverged as error:
        say(f"diverged: {error}")
        now = math.nan
    tolerance = TOLERANCES[trainer.config.precision]
    elsewhere = _elsewhere(recorded.lineage)
    return Verification(recorded.score, now, recorded.interval, tolerance, elsewhere, recorded.num_trainings)


def _read_metrics(file: Path) -> tuple[float, int, tuple[float, float] | None, int | None]:
    """The recorded score, the number of its report, the interval, and of how many trainings that is.

    Raises:
        ConfigError: they do not stand there.
    """
    tree = _read(file)
    report, interval = tree.get("best_report"), tree.get("interval")
    if not isinstance(report, Mapping) or not _is_number(report.get("score")) or not isinstance(report.get("report"), int):
        raise ConfigError([f"{file}: best_report must hold a score and the number of its report"])
    if interval is not None and not (isinstance(interval, list) and len(interval) == 2 and all(map(_is_number, interval))):
        raise ConfigError([f"{file}: interval must be two numbers, but got {interval!r}"[:300]])
    of = tree.get("interval_of")
    trainings = of.get("trainings") if isinstance(of, Mapping) else None
    num_trainings = len(trainings) if isinstance(trainings, list) else None
    low_high = None if interval is None else (float(interval[0]), float(interval[1]))
    return judged_score(report), int(report["report"]), low_high, num_trainings


def _read_lineage(file: Path) -> dict[str, Any]:
    tree = _read(file)
    hashes, encoder = tree.get("data_hashes"), tree.get("encoder_sha256")
    is_good = hashes is None or (isinstance(hashes, dict) and all(isinstance(total, str) for total in hashes.values()))
    if not is_good or not isinstance(encoder, str | None):
        raise ConfigError([f"{file}: data_hashes and encoder_sha256 must be sums of files by name, and one sum"])
    return tree


def _with_source(config: TrialConfig, data: str) -> TrialConfig:
    """The config with data that lie elsewhere; further rows that lay beside them are looked for there."""
    more = {f"data.more_rows.{name}": files for name, files in names_beside(config.data).items()}
    return with_absolute_paths(config.override({"data.source": data, **more}))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read(file: Path) -> dict[str, Any]:
    try:
        tree = read_json(file)
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read ({error.strerror}); python -m tuner.export makes the export anew"]) from None
    if not isinstance(tree, dict):
        raise ConfigError([f"{file}: an object must stand here, but got {type(tree).__name__}"])
    return tree


def _elsewhere(lineage: Mapping[str, Any]) -> tuple[str, ...]:
    """Where code runs now and where it ran then, as far as last digits hang on it and the record tells."""
    here = describe_code_and_machine()
    found = [(path, _at(lineage, path), _at(here, path)) for path in _DECIDE_DIGITS]
    return tuple(line for path, then, now in found if then is not None for line in differences(then, now, path))


def _at(tree: Mapping[str, Any], path: str) -> Any:
    """What stands at a path; None where it leads nowhere."""
    try:
        return values_at(tree, path)[0]
    except ConfigError:
        return None
