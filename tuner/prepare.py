"""Everything is looked at before anything starts: settings, config, space, data, encoder.  All mistakes come in one message."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from search_spaces.registry import find_space
from search_spaces.space import GRID_POINTS, Space, widened
from trainables.config import (
    HUB_SOURCE,
    PACKAGED_ENCODER,
    SAMPLE_SOURCE,
    TINY_ENCODER,
    ConfigError,
    TrialConfig,
    assign,
    parse_assignments,
    read_yaml,
)
from trainables.data.reading import load_rows
from trainables.encoder_files import find_encoder
from trainables.inputs import Inputs, open_inputs
from trainables.tasks import TASKS
from tuner.ledger import Ledger, LedgerError
from tuner.settings import SearchSettings

T = TypeVar("T")

SAMPLE_BUDGET = 1500
"""Training examples of a full trial on the sample corpus, so that a search that only tries tritune out takes minutes."""


class DataChangedError(ConfigError):
    """The data of a search are not what they were when it began."""


@dataclass(frozen=True)
class SearchPlan:
    """A search that may start.

    Attributes:
        settings, space: as asked for; the space without what was set by hand.
        base: the config under every trial, with its budget filled in.
        data_hashes: file -> sha256.
        left_out: a line for each row that is not used.
        num_rows: task -> training rows.
        encoder_sha256: of the encoder's weights.
    """

    settings: SearchSettings
    space: Space
    base: TrialConfig
    data_hashes: dict[str, str]
    left_out: tuple[str, ...]
    num_rows: dict[str, int]
    encoder_sha256: str

    def header(self) -> dict[str, Any]:
        """What the ledger holds of it."""
        return {
            "settings": self.settings.to_tree(),
            "space": self.space.to_tree(),
            "base": self.base.to_tree(),
            "data_hashes": self.data_hashes,
            "left_out": list(self.left_out),
            "encoder_sha256": self.encoder_sha256,
        }


class Problems:
    """Collects mistakes, so that all of them are told at once."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}

    def add(self, *sentences: str) -> None:
        """Notes mistakes; the same one is told once."""
        self._sentences.update(dict.fromkeys(sentences))

    def __bool__(self) -> bool:
        return bool(self._sentences)

    def attempt(self, make: Callable[[], T]) -> T | None:
        """What `make` returns, or None and a note of what it complains about."""
        try:
            return make()
        except ValueError as error:
            self.add(*getattr(error, "problems", [str(error)]))
            return None

    def raise_any(self) -> None:
        """Raises all of them as one `ConfigError`, if there are any."""
        if self._sentences:
            raise ConfigError(self._sentences)


def base_config(
    config_file: Path | None, assignments: Mapping[str, Any], data: str | None, settings: SearchSettings
) -> TrialConfig:
    """The config under every trial: a file's, or the defaults; then `--data`, the trial's CPUs, and what is set by hand.

    Raises:
        ConfigError: a mistake in the file or in the assignments.
    """
    tree = TrialConfig.parse(read_yaml(config_file) if config_file else {}).to_tree()
    own = {"num_threads": settings.cpus_per_trial, **({"data.source": data} if data else {})}
    config = TrialConfig.parse(assign(tree, {**own, **assignments}))
    if config.data.source == SAMPLE_SOURCE and config.budget_examples is None:
        config = config.override({"budget_examples": SAMPLE_BUDGET})
    places = {"data.source": absolute_source(config.data.source), "encoder.name": absolute_encoder(config.encoder.name)}
    return config.override(places)


def absolute_source(data: str) -> str:
    """A source that means the same in every folder and on every node of this file system."""
    return data if data in {SAMPLE_SOURCE, HUB_SOURCE} else str(Path(data).expanduser().absolute())


def absolute_encoder(name: str) -> str:
    """An encoder that means the same in every folder: names stay, a folder's path becomes absolute."""
    is_name = name in {PACKAGED_ENCODER, TINY_ENCODER} or not Path(name).expanduser().is_dir()
    return name if is_name else str(Path(name).expanduser().absolute())


def prepare(
    settings_tree: Mapping[str, Any],
    *,
    config_file: Path | None = None,
    set_texts: list[str] | None = None,
    data: str | None = None,
    problems: Problems | None = None,
) -> SearchPlan:
    """A new search, checked from end to end without starting anything.

    Args:
        settings_tree: settings as plain values.
        config_file: YAML of the base config.
        set_texts: `path=value` each; what is set so does not vary.
        data: source of the rows.
        problems: mistakes found so far, to be told with the rest.

    Raises:
        ConfigError: every mistake found.
    """
    problems = Problems() if problems is None else problems
    settings = problems.attempt(lambda: SearchSettings.parse(settings_tree))
    assignments = problems.attempt(lambda: parse_assignments(set_texts or []))
    usable = settings or SearchSettings()
    base = problems.attempt(lambda: base_config(config_file, assignments or {}, data, usable))
    space_name = settings_tree.get("space", usable.space)
    space = problems.attempt(lambda: find_space(str(space_name)).without(assignments or {}))
    if base is not None and space is not None:
        problems.add(*space.problems(base))
    readable = base or TrialConfig.parse({"data": {"source": absolute_source(data) if data else SAMPLE_SOURCE}})
    inputs = _open_inputs(readable, problems)
    assert settings is not None and space is not None
    return _plan(settings, space, inputs)


def _open_inputs(config: TrialConfig, problems: Problems) -> Inputs:
    """The inputs of a search; where it will not start, encoder and rows are only looked at, for tokens take a while.

    Raises:
        ConfigError: every mistake found, so far and here.
    """
    if problems:
        problems.attempt(lambda: find_encoder(config.encoder.name))
        problems.attempt(lambda: load_rows(config.data))
    inputs = None if problems else problems.attempt(lambda: open_inputs(config))
    problems.raise_any()
    assert inputs is not None
    return inputs


def prepare_resume(folder: Path, changes: Mapping[str, Any], new_space: str | None, problems: Problems) -> SearchPlan:
    """The search in `folder`, as it goes on: what may change is changed, data and encoder are what they were.

    Args:
        folder: of the search.
        changes: settings to replace.
        new_space: a space with wider or narrower ranges; None: as before.
        problems: mistakes found so far, to be told with the rest.

    Raises:
        LedgerError: no search there.
        DataChangedError: the data are not what they were; names each file.
        ConfigError: every other mistake.
    """
    header = Ledger.open(folder).header
    missing = [key for key in ("settings", "space", "base", "data_hashes") if key not in header]
    if missing:
        raise LedgerError(f"{folder}: this search was cut short while it was being set up; delete the folder and begin anew")
    settings = problems.attempt(lambda: SearchSettings.parse({**header["settings"], **changes}))
    base = TrialConfig.parse(header["base"])
    space = Space.parse(header["space"])
    if new_space is not None:
        space = problems.attempt(lambda: _other_space(space, new_space)) or space
        problems.add(*space.problems(base))
    inputs = _open_inputs(base, problems)
    assert settings is not None
    plan = _plan(settings, space, inputs)
    _check_unchanged(header, plan)
    return plan


def _other_space(old: Space, name: str) -> Space:
    new = find_space(name)
    known = {dimension.path for dimension in old.dimensions}
    new = replace(new, dimensions=tuple(d for d in new.dimensions if d.path in known or new.name != old.name))
    complaints = widened(old, new)
    if complaints:
        raise ConfigError(complaints)
    return new


def _check_unchanged(header: Mapping[str, Any], plan: SearchPlan) -> None:
    before, now = header["data_hashes"], plan.data_hashes
    changed = [
        f"{name}: the data of this search have changed: sha256 was {before.get(name, 'none')}, is {now.get(name, 'none')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    weights = header.get("encoder_sha256", plan.encoder_sha256)
    if weights != plan.encoder_sha256:
        changed.append(
            f"encoder {plan.base.encoder.name}: its weights have changed: sha256 was {weights}, is {plan.encoder_sha256}"
        )
    if changed:
        raise DataChangedError(changed)


def _capped_at_grid(settings: SearchSettings, space: Space, base: TrialConfig) -> SearchSettings:
    """A grid search has no more trials than its grid has points."""
    if settings.searcher != "grid":
        return settings
    num_points = sum(1 for _ in itertools.islice(space.grid(base, GRID_POINTS), settings.trials))
    return settings.model_copy(update={"trials": num_points})


def _plan(settings: SearchSettings, space: Space, inputs: Inputs) -> SearchPlan:
    return SearchPlan(
        settings=_capped_at_grid(settings, space, inputs.config),
        space=space,
        base=inputs.config,
        data_hashes=dict(inputs.store.hashes),
        left_out=tuple(str(row) for row in inputs.store.left_out),
        num_rows={task: inputs.store.table(task, "train").num_rows for task in TASKS},
        encoder_sha256=inputs.files.weights_sha256,
    )
