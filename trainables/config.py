"""`TrialConfig`: everything that decides what one trial computes, as one frozen value that is checked at birth.

Same config, same machine, same number of threads: same numbers.  No torch here, so that a mistake is found before it is imported.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_serializer, field_validator, model_validator

from trainables.config_parts import (
    BalancingConfig,
    DataConfig,
    EncoderConfig,
    HeadConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PhaseConfig,
    Precision,
)
from trainables.misfits import misfits
from trainables.parts import ConfigError, Part, Problems, nearest, parse_part
from trainables.paths import assign_known, read_part_of
from trainables.tasks import CS224N, CS224N_NAME, TaskSet, read_tasks


class TrialConfig(Part):
    """One trial, whole: what it trains on, what it trains, how, and for how long."""

    tasks: TaskSet = Field(CS224N, description="what is learnt and scored: `cs224n`, or what a file of tasks holds")
    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    heads: dict[str, HeadConfig] = Field(default_factory=dict, description="of each task; the default where not given")
    objective: ObjectiveConfig = ObjectiveConfig()
    balancing: BalancingConfig = BalancingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    phases: tuple[PhaseConfig, ...] = Field((PhaseConfig(),), strict=False, min_length=1)
    budget_examples: int | None = Field(None, ge=1, description="training examples seen; null: one pass over all training rows")
    num_reports: int = Field(9, ge=1, le=1000, description="reports over the whole budget, evenly spaced in examples")
    early_dev_share: float = Field(
        0.25, gt=0, le=1, description="fixed stratified share of dev that reports before the last are scored on; the last: all"
    )
    score_confirm: bool = Field(
        False, description="reports on all of dev are scored on its confirm part, too: of trials that confirm others"
    )
    num_threads: int = Field(1, ge=1, le=1024, description="CPU threads of torch; another number changes the last digits")
    precision: Precision = Field(
        "fp32",
        description="in which numbers the encoder multiplies; `tf32`: on a GPU, elsewhere as fp32; `bf16`: by autocast, weights "
        "stay fp32; `auto`: the fastest of them, if it is 1.2 times as fast as fp32, by a probe of the machine",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of initialisation, order of rows, dropout and noise")

    @field_validator("tasks", mode="before")
    @classmethod
    def _tasks_by_name(cls, tasks: Any) -> Any:
        if isinstance(tasks, str) and tasks != CS224N_NAME:
            raise ValueError(f"{CS224N_NAME}, or a mapping with tasks and score, must stand here, but got {tasks!r}")
        return CS224N if tasks == CS224N_NAME else tasks

    @field_serializer("tasks")
    def _name_of_tasks(self, tasks: TaskSet) -> Any:
        return CS224N_NAME if tasks == CS224N else tasks.model_dump(mode="json")

    @model_validator(mode="before")
    @classmethod
    def _what_is_said_by_task_is_said_for_each(cls, tree: Any) -> Any:
        names = _task_names(tree)
        return tree if names is None else fill_in_tasks(tree, names)

    @model_validator(mode="after")
    def _tasks_are_known(self) -> "TrialConfig":
        parts = ("tasks", "data", "encoder", "heads", "objective", "balancing", "phases")
        problems = unknown_tasks(self.model_dump(), self.tasks.names) or misfits(**{part: getattr(self, part) for part in parts})
        if problems:
            raise ConfigError(problems)
        return self

    @model_validator(mode="after")
    def _there_is_something_to_confirm_with(self) -> "TrialConfig":
        if self.score_confirm and not self.data.confirm_share:
            raise ValueError("data.confirm_share > 0 must hold with score_confirm, but got 0")
        return self

    @model_validator(mode="after")
    def _shares_add_up(self) -> "TrialConfig":
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares of all phases must add up to 1, but got {total:g}")
        return self

    @classmethod
    def parse(cls, tree: Mapping[str, Any]) -> "TrialConfig":
        """The config that a tree of plain values (from YAML, from the ledger) describes.

        Raises:
            ConfigError: unknown keys (each with the nearest known one), wrong types and broken rules, all at once.
        """
        problems = Problems()
        config = problems.attempt(lambda: parse_part(cls, tree))
        names = _task_names(tree)
        problems.add(*(unknown_tasks(tree, names) if names is not None else ()))
        problems.raise_any()
        assert config is not None
        return config

    def to_tree(self) -> dict[str, Any]:
        """The config as plain lists, dicts, strings and numbers; `parse` gives it back."""
        return self.model_dump(mode="json")

    def override(self, assignments: Mapping[str, Any]) -> "TrialConfig":
        """A copy with the value at each path replaced.

        Raises:
            ConfigError: a path that leads nowhere, or a config that breaks a rule once all are assigned.
        """
        problems = Problems()
        tree, unknown = assign_known(self.to_tree(), assignments)
        problems.add(*unknown)
        config = problems.attempt(lambda: self.parse(tree))
        problems.raise_any()
        assert config is not None
        return config


BY_TASK: Mapping[str, Any] = {
    "data.train_share": 1.0,
    "data.more_rows": (),
    "data.eda.copies": 0,
    "heads": {},
    "objective.losses": "default",
    "objective.smart.weights": 1.0,
    "objective.contrastive.weights": 0.0,
    "objective.ranking.weights": 0.0,
    "objective.distill.teachers": None,
    "balancing.loss_weights": 1.0,
}
"""Where a config says something of each task -> what holds for a task that is not named there."""


def fill_in_tasks(tree: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A config's tree in which whatever is said by task is said of each, in their order; unknown names stay, to be refused."""
    out = dict(tree)
    for path, default in BY_TASK.items():
        _fill_in(out, path.split("."), default, names)
    phases = out.get("phases", [{}])
    if isinstance(phases, list | tuple):
        out["phases"] = [{"tasks": list(names), **phase} if isinstance(phase, Mapping) else phase for phase in phases]
    return out


def _fill_in(tree: dict[str, Any], keys: Sequence[str], default: Any, names: Sequence[str]) -> None:
    inner = tree.get(keys[0], {})
    if not isinstance(inner, Mapping):
        return
    tree[keys[0]] = inner = dict(inner)
    if len(keys) > 1:
        _fill_in(inner, keys[1:], default, names)
    else:
        given = {name: inner.pop(name, default) for name in names}
        tree[keys[0]] = given | inner


def unknown_tasks(tree: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """A sentence for each place of a config's tree that names a task there is not."""
    found = [(path, name) for path in BY_TASK for part in _part_at(tree, path) if isinstance(part, Mapping) for name in part]
    phases = tree.get("phases")
    by_phase = [
        (index, phase["tasks"])
        for index, phase in enumerate(phases if isinstance(phases, list | tuple) else ())
        if isinstance(phase, Mapping) and isinstance(phase.get("tasks"), list | tuple)
    ]
    found += [(f"phases.{index}.tasks", name) for index, tasks in by_phase for name in tasks]
    found += [
        (f"phases.{index}.round_share", name)
        for index, phase in enumerate(phases if isinstance(phases, list | tuple) else ())
        for part in _part_at(phase, "round_share")
        if isinstance(part, Mapping)
        for name in part
    ]
    empty = [f"phases.{index}.tasks: a task must stand here" for index, tasks in by_phase if not tasks]
    return empty + [
        f"{path}: {name!r} is no task{nearest(str(name), names)}; tasks are {', '.join(names)}"
        for path, name in found
        if name not in names
    ]


def _part_at(tree: Any, path: str) -> list[Any]:
    for key in path.split("."):
        if not isinstance(tree, Mapping) or key not in tree:
            return []
        tree = tree[key]
    return [tree]


def read_config(file: Path | None, tasks_file: Path | None = None) -> TrialConfig:
    """The config in a YAML file (`read_part_of`), or the default one, about the tasks in another file where one is given.

    Raises:
        ConfigError: every mistake in both.
    """
    problems = Problems()
    tree = problems.attempt(lambda: read_part_of(file, "config")) if file else {}
    tasks = problems.attempt(lambda: read_tasks(tasks_file)) if tasks_file else None
    config = problems.attempt(lambda: TrialConfig.parse({**(tree or {}), **({"tasks": tasks} if tasks else {})}))
    problems.raise_any()
    assert config is not None
    return config


def tasks_of(tree: Mapping[str, Any]) -> TaskSet:
    """The tasks that a config's tree is about, whatever else is wrong with it.

    Raises:
        ConfigError: they cannot be read.
    """
    tasks = tree.get("tasks", CS224N)
    if isinstance(tasks, TaskSet):
        return tasks
    return CS224N if tasks == CS224N_NAME else parse_part(TaskSet, tasks)


def _task_names(tree: Any) -> tuple[str, ...] | None:
    """Names of the tasks that a config's tree is about; None where they cannot be read, which is told elsewhere."""
    try:
        return tasks_of(tree).names if isinstance(tree, Mapping) else None
    except ConfigError:
        return None
