"""An exported model, found and checked without torch and before anything is loaded."""

from pathlib import Path

from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.encoder_weights import why_torn
from trainables.parts import ConfigError, Problems
from trainables.paths import read_yaml
from trainables.teacher_files import CONFIG, ENCODER, ENCODER_PAIRS, model_folder


def read_export(given: Path) -> tuple[Path, TrialConfig]:
    """The absolute folder of an exported model, as `trainables.model.files.load_model` reads it, and its config.

    Args:
        given: an export, or a search's, a trial's or a training's folder with one in its `best/`.

    Raises:
        ConfigError: no model stands there, or not a whole one; every mistake in it, each with its file.
    """
    folder = model_folder(given.expanduser().absolute())
    if folder is None:
        what = "no exported model stands here" if given.expanduser().is_dir() else "no such folder"
        raise ConfigError([f"{given}: {what}; python -m tuner.export makes one of a search"])
    problems = Problems()
    config = problems.attempt(lambda: TrialConfig.parse(read_yaml(folder / CONFIG)))
    problems.attempt(lambda: find_encoder(str(folder / ENCODER)))
    if config is not None and config.encoder.copies == "singles_and_pairs":
        problems.attempt(lambda: find_encoder(str(folder / ENCODER_PAIRS)))
    problems.add(*(f"{file}: {why}" for file in weights_in(folder) if (why := why_torn(file))))
    try:
        problems.raise_any()
    except ConfigError as error:
        raise ConfigError(p if p.startswith(str(folder)) else f"{folder}: {p}" for p in error.problems) from None
    assert config is not None
    return folder, config


def weights_in(folder: Path) -> list[Path]:
    """All files of weights of an exported model."""
    return sorted([*folder.glob("*.safetensors"), *folder.glob(f"{ENCODER}*/*.safetensors")])
