"""Everything is looked at before anything starts: settings, config, space, data, encoder.  All mistakes come in one message."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.domains import Int
from search_spaces.registry import SPACES, find_space
from search_spaces.space import Space, widened
from search_spaces.studies import basics, leaderboard
from search_spaces.study import StudySpace, parse_space
from trainables.config import TrialConfig, read_config
from trainables.config_parts import SAMPLE_SOURCE
from trainables.inputs import absolute_source
from trainables.parts import ConfigError, Problems
from trainables.paths import parse_assignments
from trainables.tasks import CS224N
from tuner.ledger_places import LedgerError, check_ledger_url
from tuner.search_plan import OWNED_PATHS, SearchPlan, base_config, check_unchanged, open_or_look, plan_of
from tuner.settings import SearchSettings, parse_model_name, parse_tracking_uri
from tuner.stored_trials import check_storage
from tuner.study_plan import prepare_study, resumed_study

_NOT_BY_HAND = ("seed", "num_threads", "score_confirm")


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
    settings_tree = _with_checked(settings_tree, "ledger", check_ledger_url, problems)
    settings_tree = _with_checked(settings_tree, "tracking_uri", parse_tracking_uri, problems)
    settings_tree = _with_checked(settings_tree, "register_as", parse_model_name, problems)
    settings_tree = _with_checked(settings_tree, "storage", check_storage, problems)
    usable = _parse_settings(settings_tree, problems)
    assignments = problems.attempt(lambda: parse_assignments(set_texts or []))
    problems.add(
        *(f"--set {path}: the search sets it; use {OWNED_PATHS[path]}" for path in _NOT_BY_HAND if path in (assignments or {}))
    )
    if usable.study is not None:
        return prepare_study(usable, config_file=config_file, by_hand=assignments or {}, data=data, problems=problems)
    start = problems.attempt(lambda: read_config(config_file, tasks_file))
    base = problems.attempt(lambda: base_config(start or TrialConfig(), assignments or {}, data, usable))
    space_name = str(settings_tree.get("space") or default_space(base or start or TrialConfig()))
    usable = usable.model_copy(update={"space": space_name})
    space = problems.attempt(lambda: _varying(space_name, assignments or {}))
    changed = config_file is not None or tasks_file is not None or set(assignments or ()) - set(OWNED_PATHS)
    if base is not None and usable.confirm and not base.data.confirm_share:
        rule = f"data.confirm_share > 0 must hold to confirm {usable.confirm}, but got 0"
        problems.add(f"--confirm: {rule}; --confirm 0 confirms none")
    if base is not None and space is not None and (changed or space_name not in SPACES):  # ours fit the default config
        problems.add(*space.problems(base))
    readable = base or (start or TrialConfig()).override({"data.source": absolute_source(data) if data else SAMPLE_SOURCE})
    inputs = open_or_look(readable, problems)
    assert space is not None
    return plan_of(usable, _fitted(space, space_name, inputs.files.num_layers), inputs, tuple(assignments or ()))


def _fitted(space: Space, asked_for: str, num_layers: int) -> Space:
    """A space asked for by one of our names, narrowed to what the encoder has: one of its layers is never frozen.

    Raises:
        ConfigError: a space of the user's asks for more layers than there are.
    """
    fitted = []
    for dimension in space.dimensions:
        domain = dimension.domain
        if dimension.path.endswith(".frozen_layers") and isinstance(domain, Int) and domain.high >= num_layers:
            if asked_for in SPACES:
                domain = Int(0, num_layers - 1)
            elif domain.high > num_layers:
                where = f"space {space.name}: {dimension.path}"
                raise ConfigError([f"{where} <= {num_layers}, the encoder's layers, must hold, but it goes to {domain.high}"])
        fitted.append(replace(dimension, domain=domain))
    return replace(space, dimensions=tuple(fitted))


def default_space(base: TrialConfig) -> str:
    """The space that is searched where none is named: the leaderboard's for its own tasks, for others what all tasks have."""
    return leaderboard.SPACE.name if base.tasks == CS224N else basics.SPACE.name


def _with_checked(tree: Mapping[str, Any], key: str, parse: Callable[[str], str], problems: Problems) -> Mapping[str, Any]:
    """Settings with an address that is checked, and means the same in every folder."""
    address = tree.get(key)
    return {**tree, key: problems.attempt(lambda: parse(address))} if isinstance(address, str) else tree


def _varying(space_name: str, fixed: Iterable[str]) -> Space:
    """The space of this name, without what was set by hand.

    Raises:
        ConfigError: no such space, a mistake in it, or a dimension that the search itself decides.
    """
    space = find_space(space_name)
    owned = {d.path: how for d in space.dimensions for path, how in OWNED_PATHS.items() if f"{d.path}.".startswith(f"{path}.")}
    if owned:
        raise ConfigError(
            f"space {space.name}: {path}: it cannot vary; one value for all trials: {how}" for path, how in owned.items()
        )
    return space.without(fixed)


def _parse_settings(tree: Mapping[str, Any], problems: Problems, before: Mapping[str, Any] | None = None) -> SearchSettings:
    """The settings, each mistake told by its option; what has one is as it was before, so that the rest can be looked at."""
    try:
        return SearchSettings.parse(tree)
    except ConfigError as error:
        options = {problem: problem.partition(":")[0].replace("_", "-") for problem in error.problems}
        problems.add(*(f"--{option}:{problem.partition(':')[2]}" for problem, option in options.items()))
    wrong = {problem.partition(":")[0].partition(".")[0] for problem in options}
    usable = {key: value for key, value in tree.items() if key not in wrong}
    return SearchSettings.parse({**usable, **{key: value for key, value in (before or {}).items() if key in wrong}})


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
    from tuner.ledger import Ledger  # Optuna: a new search that is refused needs none

    header = Ledger.read(folder).header
    missing = [key for key in ("settings", "space", "base", "data_hashes") if key not in header]
    if missing:
        raise LedgerError(f"{folder}: this search was cut short while it was being set up; delete the folder and begin anew")
    settings_tree = _with_checked({**header["settings"], **changes}, "tracking_uri", parse_tracking_uri, problems)
    settings_tree = _with_checked(settings_tree, "register_as", parse_model_name, problems)
    settings_tree = _with_checked(settings_tree, "storage", check_storage, problems)
    if settings_tree.get("storage") is not None and header["settings"].get("storage") is None:
        problems.add("--storage: this search began without one; its trials stay in its folder")
    settings = _parse_settings(settings_tree, problems, before=header["settings"])
    base = TrialConfig.parse(header["base"])
    if changes.get("confirm") and not base.data.confirm_share:
        problems.add("--confirm: this search began with --confirm 0, and has kept no rows of dev to confirm with")
    space, fixed = parse_space(header["space"]), tuple(header.get("fixed", ()))
    if isinstance(space, StudySpace):
        return resumed_study(header, settings, space, new_space, problems)
    if new_space is not None:
        if "fixed" not in header:  # what was set by hand would vary from now on
            problems.add(f"--space: the ledger of {folder} does not say what was set by hand; leave it out with --resume")
        space = problems.attempt(lambda: _other_space(space, new_space, fixed)) or space
        problems.add(*space.problems(base))
    inputs = open_or_look(base, problems)
    if new_space is not None:
        space = _fitted(space, new_space, inputs.files.num_layers)
    plan = plan_of(settings, space, inputs, fixed)
    check_unchanged(header, plan)
    return plan


def _other_space(old: Space, name: str, fixed: tuple[str, ...]) -> Space:
    """The space of this name; dimensions that are new in it vary from now on, in the trials to come."""
    new = _varying(name, fixed)
    complaints = widened(old, new)
    if complaints:
        raise ConfigError(complaints)
    return new
