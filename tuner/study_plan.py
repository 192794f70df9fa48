"""A search over the rows of a study: every row is looked at as the trial that it will be, before anything starts."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.registry import find_study
from search_spaces.study import StudySpace, study_space, without_teacher_rows
from trainables.config import TrialConfig
from trainables.data.tokens import TokenStore
from trainables.inputs import Inputs, absolute_settings, open_inputs
from trainables.parts import ConfigError, Problems
from trainables.paths import read_part_of
from tuner.search_plan import OWNED_PATHS, SearchPlan, base_config, check_unchanged, open_or_look, plan_of
from tuner.settings import SearchSettings


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
    start = problems.attempt(lambda: TrialConfig.parse({**(read_part_of(config_file, "config") if config_file else {}), **tasks}))
    owned = {path: value for path, value in by_hand.items() if path in OWNED_PATHS}
    under = {} if study is None else study.settings
    base = problems.attempt(lambda: base_config((start or TrialConfig()).override(under), owned, data, settings))
    inputs = open_or_look(base or TrialConfig(), problems)
    assert study is not None
    rows = (replace(row, settings=absolute_settings(row.settings, inputs.config)) for row in study.rows)
    study = replace(study, rows=tuple(rows))
    problems.add(*study.too_small(inputs.config))
    space = study_space(study, settings.seeds, absolute_settings(by_hand, inputs.config))
    return _study_plan(settings, space, inputs, problems)


def resumed_study(
    header: Mapping[str, Any], settings: SearchSettings, space: StudySpace, new_space: str | None, problems: Problems
) -> SearchPlan:
    """A study that goes on, with as many seeds or more.

    Args:
        header: of its ledger.
        settings: as they are now.
        space: as it stands in the ledger.
        new_space: that was asked for, which is a mistake.
        problems: mistakes found so far, to be told with the rest.

    Raises:
        DataChangedError: data, teachers or encoder are not what they were.
        ConfigError: every other mistake.
    """
    if new_space is not None:
        problems.add("--space: this search trains the rows of a study; leave it out with --resume")
    if settings.seeds < space.num_seeds:
        problems.add(f"--seeds: this study was set to {space.num_seeds} seeds and can only grow, but got {settings.seeds}")
    inputs = open_or_look(TrialConfig.parse(header["base"]), problems)
    plan = _study_plan(settings, study_space(space.study, settings.seeds, space.by_hand), inputs, problems)
    check_unchanged(header, plan)
    return plan


def _study_plan(settings: SearchSettings, space: StudySpace, base: Inputs, problems: Problems) -> SearchPlan:
    """The plan of a study whose rows were all looked at.

    Raises:
        ConfigError: every mistake in them.
    """
    problems.add(*space.problems(base.config))
    problems.raise_any()
    plan = plan_of(settings, space, base, tuple(space.by_hand))
    hashes = plan.data_hashes | _hashes_of_rows(space, base.config, problems)
    problems.raise_any()
    num_trials = len(space.study.rows) * settings.seeds
    changes: dict[str, Any] = {"space": space.name, "trials": num_trials, "searcher": "grid", "early_stopping": "none"}
    if any(row.teachers for row in space.study.rows):
        changes["keep_models"] = max(num_trials, settings.keep_models)
    return replace(plan, data_hashes=hashes, settings=settings.model_copy(update=changes))


def _hashes_of_rows(space: StudySpace, base: TrialConfig, problems: Problems) -> dict[str, str]:
    """The hashes of all that the rows read, each row looked at with its inputs; tokens that rows share are opened once."""
    hashes: dict[str, str] = {}
    stores: dict[Any, TokenStore] = {}
    for row, config in space.configs(base):
        read = (config.data, config.encoder)
        try:
            inputs = open_inputs(without_teacher_rows(config), stores.get(read))
        except ConfigError as error:
            problems.add(*(f"study {space.study.name}: row {row.name}: {problem}" for problem in error.problems))
            continue
        stores[read] = inputs.store
        hashes |= inputs.hashes
    return hashes
