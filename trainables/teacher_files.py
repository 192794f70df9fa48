"""The models that `objective.distill.teachers` names, found and checked without torch and before anything starts."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainables.config import TrialConfig
from trainables.encoder_files import EncoderFiles, find_encoder
from trainables.encoder_weights import why_torn
from trainables.files import sha256_of
from trainables.parts import ConfigError, Problems
from trainables.paths import read_yaml
from trainables.tasks import Task

ENCODER, ENCODER_PAIRS, HEADS, CONFIG = "encoder", "encoder_pairs", "heads.safetensors", "config.yaml"
BEST = "best"
"""Where a search, a trial and a training keep the model that counts."""
_LEARNT = ("target", "num_classes", "label_range", "sentence_columns")
"""What a teacher's task must share with the student's."""


@dataclass(frozen=True)
class TeacherFiles:
    """A model that teaches a task.

    Attributes:
        folder: as `trainables.model.files.load_model` reads it.
        config: that it was trained with.
        encoder: its own, with the tokenizer that it reads with.
        sha256: of its weights, its config and its encoder's files, all in one.
    """

    folder: Path
    config: TrialConfig
    encoder: EncoderFiles
    sha256: str


def find_teachers(config: TrialConfig) -> dict[str, TeacherFiles]:
    """The teacher of each task that has one.

    Raises:
        ConfigError: folders that hold no model, or one that has not learnt the task; all at once.
    """
    problems, found = Problems(), {}
    for name, folder in config.objective.distill.teachers.items():
        if folder is None:
            continue
        try:
            found[name] = _find_teacher(Path(folder).expanduser(), config, config.tasks.by_name[name])
        except ValueError as error:
            sentences = getattr(error, "problems", [str(error)])
            problems.add(*(f"objective.distill.teachers.{name}: {folder}: {sentence}" for sentence in sentences))
    problems.raise_any()
    return found


def model_folder(folder: Path) -> Path | None:
    """`folder` where an exported model lies in it, else its `best/` where one lies there."""
    return next((place for place in (folder, folder / BEST) if (place / HEADS).is_file()), None)


def _find_teacher(folder: Path, student: TrialConfig, task: Task) -> TeacherFiles:
    if not folder.is_dir():
        raise ConfigError([f"{'this is a file' if folder.exists() else 'no such folder'}; python -m tuner.export makes one"])
    folder = (model_folder(folder) or folder).resolve()
    missing = [name for name in (CONFIG, HEADS) if not (folder / name).is_file()]
    missing += [f"{ENCODER}/"] * (not (folder / ENCODER).is_dir())
    if missing:
        raise ConfigError([f"no exported model, for there is no {', no '.join(missing)}"])
    problems = Problems()
    config = problems.attempt(lambda: _read_config(folder / CONFIG))
    encoder = problems.attempt(lambda: find_encoder(str(folder / ENCODER)))
    if config is not None and config.encoder.copies == "singles_and_pairs":
        problems.attempt(lambda: find_encoder(str(folder / ENCODER_PAIRS)))
    if why := why_torn(folder / HEADS):
        problems.add(f"{HEADS}: {why}")
    problems.add(*([] if config is None else _misfits(config, student, task)))
    problems.raise_any()
    assert config is not None
    assert encoder is not None
    return TeacherFiles(folder, config, encoder, sum_of(folder))


def _read_config(file: Path) -> TrialConfig:
    tree = read_yaml(file)
    try:
        return TrialConfig.parse(tree)
    except ConfigError as error:
        raise ConfigError(f"{file.name}: {problem}" for problem in error.problems) from None


def _misfits(teacher: TrialConfig, student: TrialConfig, task: Task) -> Iterator[str]:
    own = teacher.tasks.by_name.get(task.name)
    if own is None:
        yield f"it has not learnt {task.name}; its tasks are {', '.join(teacher.tasks.names)}"
    for key in _LEARNT if own is not None else ():
        theirs, ours = getattr(own, key), getattr(task, key)
        if theirs != ours:
            yield f"its task {task.name} must have {key}={ours}, as the student's, but has {theirs}"
    normalised, ours = teacher.data.normalise_text, student.data.normalise_text
    if normalised != ours and student.data.eda.copies[task.name]:
        yield f"its data.normalise_text must be {ours}, as the student's, where data.eda copies rows, but is {normalised}"


def sum_of(folder: Path) -> str:
    """The sha256 of the sums of all files that decide what the model predicts."""
    files = [folder / CONFIG, *folder.glob("*.safetensors"), *folder.glob(f"{ENCODER}*/*")]
    sums = {str(file.relative_to(folder)): sha256_of(file) for file in files if file.is_file()}
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
