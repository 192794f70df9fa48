"""Everything is looked at before anything starts: settings, config, space, data, encoder.  All mistakes come in one message."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search_spaces.domains import Int
from search_spaces.registry import SPACES, find_space, find_study
from search_spaces.space import GRID_POINTS, Space, widened
from search_spaces.studies import basics, leaderboard
from search_spaces.study import StudySpace, parse_space, study_space, without_teacher_rows
from trainables.config import TrialConfig, read_config
from trainables.config_parts import SAMPLE_SOURCE
from trainables.data.reading import load_rows
from trainables.encoder_files import find_encoder
from trainables.inputs import Inputs, absolute_source, changed_sums, open_inputs, with_absolute_paths
from trainables.parts import ConfigError, Problems
from trainables.paths import parse_assignments, read_yaml
from trainables.tasks import CS224N
from tuner.ledger import Ledger, LedgerError
from tuner.settings import SearchSettings, parse_tracking_uri

SAMPLE_BUDGET = 630
"""Training examples of a full trial on the sample corpus, so that a search that only tries tritune out takes minutes."""


OWNED_PATHS = {
    "seed": "--seed",
    "num_threads": "--cpus-per-trial",
    "budget_examples": "--budget",
    "num_reports": "--set num_reports=N",
    "early_dev_share": "--set early_dev_share=X",
    "tasks": "--tasks FILE",
    "data.source": "--data",
    "encoder.name": "--set encoder.name=NAME",
}
"""What the search itself decides of every trial's config -> what sets it.  None of these is a dimension."""

_NOT_BY_HAND = ("seed", "num_threads")


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
        fixed: paths that were set by hand; they never vary, in no space.
    """

    settings: SearchSettings
    space: Space
    base: TrialConfig
    data_hashes: dict[str, str]
    left_out: tuple[str, ...]
    num_rows: dict[str, int]
    encoder_sha256: str
    fixed: tuple[str, ...] = ()

    def header(self) -> dict[str, Any]:
        """What the ledger holds of it."""
        return {
            "settings": self.settings.to_tree(),
            "space": self.space.to_tree(),
            "base": self.base.to_tree(),
            "data_hashes": self.data_hashes,
            "left_out": list(self.left_out),
            "encoder_sha256": self.encoder_sha256,
            "fixed": list(self.fixed),
        }

    def for_people(self) -> dict[str, Any]:
        """Settings, space and base config as a person reads them: `settings.yaml`, `--print-config`."""
        return {"settings": self.settings.to_tree(), "space": self.space.to_tree(), "config": self.base.to_tree()}


def base_config(start: TrialConfig, assignments: Mapping[str, Any], data: str | None, settings: SearchSettings) -> TrialConfig:
    """The config under every trial: what it starts from; then `--data`, the trial's CPUs, and what is set by hand.

    Raises:
        ConfigError: a mistake in the assignments.
    """
    own = {"num_threads": settings.cpus_per_trial, **({"data.source": data} if data else {})}
    config = start.override({**own, **assignments})
    if config.data.source == SAMPLE_SOURCE and config.budget_examples is None:
        config = config.override({"budget_examples": SAMPLE_BUDGET})
    return with_absolute_paths(config)


def prepare(
    settings_tree: Mapping[str, Any],
    *,
    config_file: Path | None = None,
    tasks_file: Path | None = None,
    set_texts: list[str] | None = None,
    data: str | None = None,
    problems: Problems | None = None,
) -> SearchPlan:
    """A new search, checked from end to end without starting anything.

    Args:
        settings_tree: settings as plain values.
        config_file: YAML of the base config.
        tasks_file: YAML of the tasks.
        set_texts: `path=value` each; what is set so does not vary.
        data: source of the rows.
        problems: mistakes found so far, to be told with the rest.

    Raises:
        ConfigError: every mistake found.
    """
    problems = Problems() if problems is None else problems
    settings_tree = _with_tracking_uri(settings_tree, problems)
    settings = problems.attempt(lambda: SearchSettings.parse(settings_tree))
    assignments = problems.attempt(lambda: parse_assignments(set_texts or []))
    problems.add(
        *(f"--set {path}: the search sets it; use {OWNED_PATHS[path]}" for path in _NOT_BY_HAND if path in (assignments or {}))
    )
    usable = settings or SearchSettings()
    if usable.study is not None:
        return prepare_study(usable, config_file=config_file, by_hand=assignments or {}, data=data, problems=problems)
    start = problems.attempt(lambda: read_config(config_file, tasks_file))
    base = problems.attempt(lambda: base_config(start or TrialConfig(), assignments or {}, data, usable))
    space_name = settings_tree.get("space") or default_space(base or start or TrialConfig())
    usable = usable.model_copy(update={"space": space_name})
    space = problems.attempt(lambda: _varying(str(space_name), assignments or {}))
    changed = config_file is not None or tasks_file is not None or set(assignments or ()) - set(OWNED_PATHS)
    if base is not None and space is not None and (changed or space.name not in SPACES):  # ours fit the default config
        problems.add(*space.problems(base))
    readable = base or (start or TrialConfig()).override({"data.source": absolute_source(data) if data else SAMPLE_SOURCE})
    inputs = _open_inputs(readable, problems)
    assert space is not None
    return _plan(usable, _fitted(space, inputs.files.num_layers), inputs, tuple(assignments or ()))


def _fitted(space: Space, num_layers: int) -> Space:
    """A space of ours, narrowed to what the encoder has: one of its layers is never frozen.

    Raises:
        ConfigError: a space of the user's asks for more layers than there are.
    """
    fitted = []
    for dimension in space.dimensions:
        domain = dimension.domain
        if dimension.path.endswith(".frozen_layers") and isinstance(domain, Int) and domain.high >= num_layers:
            if space.name in SPACES:
                domain = Int(0, num_layers - 1)
            elif domain.high > num_layers:
                where = f"space {space.name}: {dimension.path}"
                raise ConfigError([f"{where} <= {num_layers}, the encoder's layers, must hold, but it goes to {domain.high}"])
        fitted.append(replace(dimension, domain=domain))
    return replace(space, dimensions=tuple(fitted))


def default_space(base: TrialConfig) -> str:
    """The space that is searched where none is named: the leaderboard's for its own tasks, for others what all tasks have."""
    return leaderboard.SPACE.name if base.tasks == CS224N else basics.SPACE.name


def _with_tracking_uri(tree: Mapping[str, Any], problems: Problems) -> Mapping[str, Any]:
    """Settings whose tracking URI is checked, and means the same in every folder."""
    uri = tree.get("tracking_uri")
    return {**tree, "tracking_uri": problems.attempt(lambda: parse_tracking_uri(uri))} if isinstance(uri, str) else tree


def _varying(space_name: str, fixed: Iterable[str]) -> Space:
    """The space of this name, without what was set by hand.

    Raises:
        ConfigError: no such space, a mistake in it, or a dimension that the search itself decides.
    """
    space = find_space(space_name)
    owned = [d.path for d in space.dimensions if d.path in OWNED_PATHS]
    if owned:
        raise ConfigError(
            f"space {space.name}: {path}: it cannot vary; one value for all trials: {OWNED_PATHS[path]}" for path in owned
        )
    return space.without(fixed)


def _open_inputs(config: TrialConfig, problems: Problems) -> Inputs:
    """The inputs of a search; where it will not start, encoder and rows are only looked at, for tokens take a while.

    Raises:
        ConfigError: every mistake found, so far and here.
    """
    if problems:
        problems.attempt(lambda: find_encoder(config.encoder.name))
        problems.attempt(lambda: load_rows(config.data, config.tasks))
    inputs = None if problems else problems.attempt(lambda: open_inputs(config))
    problems.raise_any()
    assert inputs is not None
    return inputs


def prepare_resume(folder: Path, changes: Mapping[str, Any], new_space: str | None, problems: Problems) -> SearchPlan:
    """The search in `folder`, as it goes on: what may change is changed, data and encoder are what they were.

    Args:
        folder: of the search.
        changes: settings to replace.
        new_space: a space with wider or narrower ranges, or with more dimensions; None: as before.
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
    settings_tree = _with_tracking_uri({**header["settings"], **changes}, problems)
    settings = problems.attempt(lambda: SearchSettings.parse(settings_tree))
    base = TrialConfig.parse(header["base"])
    space, fixed = parse_space(header["space"]), tuple(header.get("fixed", ()))
    if isinstance(space, StudySpace):
        return _resumed_study(header, settings, space, new_space, problems)
    if new_space is not None:
        if "fixed" not in header:  # what was set by hand would vary from now on
            problems.add(f"--space: the ledger of {folder} does not say what was set by hand; leave it out with --resume")
        space = problems.attempt(lambda: _other_space(space, new_space, fixed)) or space
        problems.add(*space.problems(base))
    inputs = _open_inputs(base, problems)
    assert settings is not None
    plan = _plan(settings, space, inputs, fixed)
    _check_unchanged(header, plan)
    return plan


def prepare_study(
    settings: SearchSettings, *, config_file: Path | None, by_hand: Mapping[str, Any], data: str | None, problems: Problems
) -> SearchPlan:
    """A search over the rows of a study, every one of them checked as the trial that it will be.

    Args:
        settings: with a study.
        config_file: YAML of the config under the rows.
        by_hand: config path -> value that holds in every row.
        data: source of the rows.
        problems: mistakes found so far, to be told with the rest.

    Raises:
        ConfigError: every mistake found.
    """
    study = problems.attempt(lambda: find_study(str(settings.study), settings.rows))
    tasks = {} if study is None else {"tasks": study.tasks}
    start = problems.attempt(lambda: TrialConfig.parse({**(read_yaml(config_file) if config_file else {}), **tasks}))
    owned = {path: value for path, value in by_hand.items() if path in OWNED_PATHS}
    under = {} if study is None else study.settings
    base = problems.attempt(lambda: base_config((start or TrialConfig()).override(under), owned, data, settings))
    inputs = _open_inputs(base or TrialConfig(), problems)
    assert study is not None
    return _study_plan(settings, study_space(study, settings.seeds, by_hand), inputs, problems)


def _resumed_study(
    header: Mapping[str, Any], settings: SearchSettings | None, space: StudySpace, new_space: str | None, problems: Problems
) -> SearchPlan:
    if new_space is not None:
        problems.add("--space: this search trains the rows of a study; leave it out with --resume")
    if settings is not None and settings.seeds < space.num_seeds:
        problems.add(f"--seeds: this study was set to {space.num_seeds} seeds and can only grow, but got {settings.seeds}")
    inputs = _open_inputs(TrialConfig.parse(header["base"]), problems)
    assert settings is not None
    plan = _study_plan(settings, study_space(space.study, settings.seeds, space.by_hand), inputs, problems)
    _check_unchanged(header, plan)
    return plan


def _study_plan(settings: SearchSettings, space: StudySpace, base: Inputs, problems: Problems) -> SearchPlan:
    """The plan of a study whose rows were all looked at.

    Raises:
        ConfigError: every mistake in them.
    """
    problems.add(*space.problems(base.config))
    problems.raise_any()
    plan = _plan(settings, space, base, tuple(space.by_hand))
    hashes, seen = dict(plan.data_hashes), set()
    for row, config in space.configs(base.config):
        what_is_read = (config.data, config.encoder, config.phases)
        if what_is_read in seen:
            continue
        seen.add(what_is_read)
        try:
            hashes |= open_inputs(without_teacher_rows(config)).store.hashes
        except ConfigError as error:
            problems.add(*(f"study {space.study.name}: row {row.name}: {problem}" for problem in error.problems))
    problems.raise_any()
    num_trials = len(space.study.rows) * settings.seeds
    changes: dict[str, Any] = {"space": space.name, "trials": num_trials, "searcher": "grid", "early_stopping": "none"}
    if any(row.teachers for row in space.study.rows):
        changes["keep_models"] = max(num_trials, settings.keep_models)
    return replace(plan, data_hashes=hashes, settings=settings.model_copy(update=changes))


def _other_space(old: Space, name: str, fixed: tuple[str, ...]) -> Space:
    """The space of this name; dimensions that are new in it vary from now on, in the trials to come."""
    new = _varying(name, fixed)
    complaints = widened(old, new)
    if complaints:
        raise ConfigError(complaints)
    return new


def _check_unchanged(header: Mapping[str, Any], plan: SearchPlan) -> None:
    changed = changed_sums(header["data_hashes"], plan.data_hashes, "data")
    encoder = f"encoder {plan.base.encoder.name}"
    changed += changed_sums(
        {encoder: header.get("encoder_sha256", plan.encoder_sha256)}, {encoder: plan.encoder_sha256}, "weights"
    )
    if changed:
        raise DataChangedError(changed)


def _capped_at_grid(settings: SearchSettings, space: Space, base: TrialConfig) -> SearchSettings:
    """A grid search has no more trials than its grid has points."""
    if settings.searcher != "grid":
        return settings
    num_points = sum(1 for _ in itertools.islice(space.grid(base, GRID_POINTS), settings.trials))
    return settings.model_copy(update={"trials": num_points})


def _plan(settings: SearchSettings, space: Space, inputs: Inputs, fixed: tuple[str, ...]) -> SearchPlan:
    return SearchPlan(
        settings=_capped_at_grid(settings, space, inputs.config),
        space=space,
        base=inputs.config,
        data_hashes=dict(inputs.store.hashes),
        left_out=tuple(str(row) for row in inputs.store.left_out),
        num_rows={task: inputs.store.table(task, "train").num_rows for task in inputs.config.tasks.names},
        encoder_sha256=inputs.files.weights_sha256,
        fixed=fixed,
    )
