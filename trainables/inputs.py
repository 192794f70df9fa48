"""Everything a trial needs from outside, found and checked before torch is imported: all mistakes in one message."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from trainables.config_parts import (
    HUB_SOURCE,
    PACKAGED_ENCODER,
    SAMPLE_SOURCE,
    TEACHER_ROW,
    TINY_ENCODER,
    EncoderConfig,
    HeadConfig,
)
from trainables.data.reading import absolute_files, look_at_rows
from trainables.data.rows import training_rows
from trainables.data.tokens import TokenStore, tokenise
from trainables.encoder_files import EncoderFiles, find_encoder
from trainables.parts import ConfigError, Problems
from trainables.paths import assign, assign_known, values_at
from trainables.teacher_files import TeacherFiles, find_teachers

_TEACHER = "teacher "


class DataChangedError(ConfigError):
    """Data, teachers or encoder of a search are not what they were when it began."""


@dataclass(frozen=True)
class Inputs:
    """What a trial starts from.

    Attributes:
        config: the trial's, with `budget_examples` filled in.
        files: of the encoder.
        store: tokens of all splits.
        teachers: of each task that has one.
    """

    config: TrialConfig
    files: EncoderFiles
    store: TokenStore
    teachers: Mapping[str, TeacherFiles] = field(default_factory=dict)

    @property
    def hashes(self) -> dict[str, str]:
        """See `hashes_of`."""
        return hashes_of(self.config, self.store, self.teachers)


def open_inputs(config: TrialConfig, store: TokenStore | None = None) -> Inputs:
    """Finds encoder and teachers, opens (or first makes) the tokens, and resolves the config.

    Args:
        config: of the trial.
        store: tokens that are open already, made with the same `data` and `encoder`.

    Raises:
        ConfigError: what is wrong with the encoder, the teachers, the data, and with how they and the config fit, all at once.
    """
    problems = Problems()
    files = problems.attempt(lambda: find_encoder(config.encoder.name))
    if files is not None and config.data.max_tokens > files.max_positions:
        problems.add(
            f"data.max_tokens <= {files.max_positions} must hold for encoder {config.encoder.name}, "
            f"but got {config.data.max_tokens}"
        )
    if files is not None:
        problems.add(*_too_many_frozen(config, files))
    teachers = problems.attempt(lambda: find_teachers(config))
    if store is None and not problems:
        store = problems.attempt(lambda: tokenise(config.data, config.encoder, config.tasks))
    elif store is None:
        problems.attempt(lambda: look_at_rows(config.data, config.tasks))
    if store is not None:
        config = problems.attempt(lambda: resolve(config, store)) or config
    problems.raise_any()
    assert files is not None
    assert store is not None
    return Inputs(config, files, store, teachers or {})


def _too_many_frozen(config: TrialConfig, files: EncoderFiles) -> list[str]:
    """A sentence for each phase that freezes more layers than there are, or all above which a head has no weights."""
    out = []
    for number, phase in enumerate(config.phases):
        where, encoder = f"phases.{number}.frozen_layers", config.encoder.name
        without = [name for name in phase.tasks if _has_no_weights(config.heads[name], config.encoder)]
        if phase.frozen_layers > files.num_layers:
            out.append(f"{where} <= {files.num_layers} must hold for encoder {encoder}, but got {phase.frozen_layers}")
        elif phase.frozen_layers == files.num_layers and without:
            out.append(
                f"{where}={phase.frozen_layers} are all layers of encoder {encoder}: "
                f"the head of {', '.join(without)} (kind=cosine) has no weights that could train"
            )
    return out


def _has_no_weights(head: HeadConfig, encoder: EncoderConfig) -> bool:
    return head.kind == "cosine" and (head.pooling or encoder.pooling) != "attention"


def resolve(config: TrialConfig, store: TokenStore) -> TrialConfig:
    """The config with `budget_examples` filled in: one pass over all training rows of the tasks that its phases train.

    Raises:
        ConfigError: a task that trains has no training rows, one has no dev rows, or there are more reports than examples.
    """
    trained = [name for name in config.tasks.names if any(name in phase.tasks for phase in config.phases)]
    shares, copies = config.data.train_share, config.data.eda.copies
    rows = {name: len(training_rows(store.table(name, "train").num_rows, shares[name], copies[name])) for name in trained}
    problems = [f"{config.data.source}: no training rows for {name}" for name, count in rows.items() if count == 0]
    problems += [
        f"{config.data.source}: no dev rows for {name}" for name in config.tasks.names if store.table(name, "dev").num_rows == 0
    ]
    budget = config.budget_examples or sum(rows.values())
    if config.num_reports > budget:
        problems.append(f"num_reports <= budget_examples must hold, but got {config.num_reports} and {budget}")
    if problems:
        raise ConfigError(problems)
    return config.model_copy(update={"budget_examples": budget})


def hashes_of(config: TrialConfig, store: TokenStore, teachers: Mapping[str, TeacherFiles]) -> dict[str, str]:
    """File -> sha256 of all data, `teacher FOLDER` -> sha256 of each teacher: what must stay as it is while a search lasts.

    A teacher goes by its name in the config, so that a link to another one does not pass for a new name.
    """
    named = config.objective.distill.teachers
    return {**store.hashes, **{f"{_TEACHER}{named[task]}": teacher.sha256 for task, teacher in teachers.items()}}


def is_teacher(name: str) -> bool:
    """Whether a name in `hashes_of` is that of a teacher."""
    return name.startswith(_TEACHER)


def check_unchanged(inputs: Inputs, *, data_hashes: Mapping[str, str] | None, encoder_sha256: str | None) -> None:
    """Compares what was opened with what a search began with.

    Args:
        inputs: of the trial.
        data_hashes: as `hashes_of` gives them and as they must be, also of what other trials of the search read; None: any.
            A teacher that does not stand there is a row of the search's own.
        encoder_sha256: of the weights as it must be; None: any.

    Raises:
        DataChangedError: names each file that is another one, with both hashes.
    """
    weights, problems = str(inputs.files.weights), []
    if data_hashes is not None:
        now = {name: sum_ for name, sum_ in inputs.hashes.items() if name in data_hashes or not is_teacher(name)}
        problems = changed_sums({name: data_hashes[name] for name in data_hashes if name in now}, now, "data")
    if encoder_sha256 is not None:
        problems += changed_sums({weights: encoder_sha256}, {weights: inputs.files.weights_sha256}, "weights")
    if problems:
        raise DataChangedError(problems)


def changed_sums(before: Mapping[str, str], now: Mapping[str, str], what: str) -> list[str]:
    """A sentence for each name whose sha256 is another one, or that is there only before or only now."""
    return [
        f"{name}: the {'weights' if is_teacher(name) else what} have changed: "
        f"sha256 was {before.get(name, 'none')}, is {now.get(name, 'none')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def with_absolute_paths(config: TrialConfig) -> TrialConfig:
    """The config with all names of folders made absolute: it means the same wherever it is read again."""
    return config.override(_absolute_places(config.to_tree(), config.data.source))


def absolute_settings(settings: Mapping[str, Any], base: TrialConfig) -> dict[str, Any]:
    """Config path -> value, with all names of folders in them made absolute; what is no name stays as it is.

    Args:
        settings: to be put into several configs, whether or not they fit `base` alone.
        base: has the source that files of `data.more_rows` lie beside, where `settings` name none.
    """
    tree, _ = assign_known(base.to_tree(), settings)
    source = next((name for name in _found(tree, "data.source") if isinstance(name, str)), base.data.source)
    return {path: _absolute_setting(path, value, base.to_tree(), source) for path, value in settings.items()}


def _absolute_setting(path: str, value: Any, tree: dict[str, Any], source: str) -> Any:
    alone, _ = assign_known(tree, {path: value})
    alone = assign(alone, _absolute_places(alone, source))
    return next(iter(_found(alone, path)), value)


def _absolute_places(tree: dict[str, Any], source: str) -> dict[str, Any]:
    """Config path -> absolute name, for each name of a folder or a file in a config's tree, of which parts may be missing."""
    named = {"data.source": absolute_source, "encoder.name": absolute_encoder}
    places: dict[str, Any] = {
        path: make(name) for path, make in named.items() for name in _found(tree, path) if isinstance(name, str)
    }
    for path, names in _entries(tree, "data.more_rows"):
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            places[path] = absolute_files(names, source)
    teachers = _entries(tree, "objective.distill.teachers")
    return places | {path: absolute_teacher(folder) for path, folder in teachers if isinstance(folder, str)}


def _entries(tree: dict[str, Any], path: str) -> list[tuple[str, Any]]:
    return [(f"{path}.{key}", value) for part in _found(tree, path) if isinstance(part, dict) for key, value in part.items()]


def _found(tree: dict[str, Any], path: str) -> list[Any]:
    """The values at a path; none where it leads nowhere, which whoever uses the settings tells."""
    try:
        return values_at(tree, path)
    except ConfigError:
        return []


def absolute_source(data: str) -> str:
    """A source that means the same in every folder and on every node of this file system."""
    return data if data in {SAMPLE_SOURCE, HUB_SOURCE} else str(Path(data).expanduser().absolute())


def absolute_encoder(name: str) -> str:
    """An encoder that means the same in every folder: names stay, a folder's path becomes absolute."""
    is_name = name in {PACKAGED_ENCODER, TINY_ENCODER} or not Path(name).expanduser().is_dir()
    return name if is_name else str(Path(name).expanduser().absolute())


def absolute_teacher(folder: str) -> str:
    """A teacher that means the same in every folder; `row:NAME`, of a study, stays until the search puts a folder there."""
    return folder if folder.startswith(TEACHER_ROW) else str(Path(folder).expanduser().absolute())


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """`path: value here, value there` for each leaf in which two trees of plain values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        pairs = [(key, one.get(key), other.get(key)) for key in keys]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(index, *pair) for index, pair in enumerate(zip(one, other, strict=True))]
    else:
        return [] if one == other else [f"{path}: {one!r}, {other!r}"]
    return [line for key, a, b in pairs for line in differences(a, b, f"{path}.{key}".lstrip("."))]
