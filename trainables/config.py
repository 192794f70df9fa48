"""`TrialConfig`: everything that decides what one trial computes, as one frozen value that is checked at birth.

Same config, same machine, same number of threads: same numbers.  No torch here, so that a mistake is found before it is imported.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from trainables.parts import ConfigError, Part, Problems, nearest, parse_part
from trainables.paths import assign, read_yaml
from trainables.tasks import CS224N, CS224N_NAME, TaskSet, read_tasks

PACKAGED_ENCODER = "packaged"
TINY_ENCODER = "tiny"
SAMPLE_SOURCE = "sample"
HUB_SOURCE = "hub"
Weight = Annotated[float, Field(ge=0)]


class DataConfig(Part):
    """Which rows a trial sees and how they become tokens."""

    source: str = Field(SAMPLE_SOURCE, min_length=1, description="`sample`, `hub`, or a folder with the CS224N files")
    max_tokens: int = Field(
        128, ge=8, le=512, description="longest sequence, special tokens included; pairs are cut longest first"
    )
    normalise_text: bool = Field(False, description="CS224N's rule: lower-case, and `. ? , '` set apart by spaces")
    batch_size: int = Field(16, ge=1, le=4096, description="examples of one task in one optimizer step")


class EncoderConfig(Part):
    """The BERT under the heads."""

    name: str = Field(PACKAGED_ENCODER, min_length=1, description="`packaged`, `tiny`, a folder, or a Hugging Face name")
    pair_encoding: Literal["cross", "bi"] = Field(
        "cross", description="`cross`: [CLS] a [SEP] b [SEP] read at once; `bi`: a and b read apart (studentbert 5.3)"
    )
    pooling: Literal["cls", "mean"] = Field("cls", description="tokens to sentence (best_fit A.1)")
    dropout: float = Field(0.1, ge=0, lt=1, description="inside the encoder, after embeddings, attention and dense layers")


class HeadConfig(Part):
    """The head of one task."""

    kind: Literal["linear", "mlp"] = Field("linear", description="`mlp` has one hidden layer with ReLU (studentbert 4.1)")
    hidden_size: int | None = Field(None, ge=1, le=4096, description="width of the mlp's hidden layer; 32 where not given")
    dropout: float = Field(0.3, ge=0, lt=1, description="before each linear layer of the head (best_fit 5, three_headed 4.2)")

    @model_validator(mode="after")
    def _hidden_size_belongs_to_mlp(self) -> "HeadConfig":
        if self.kind == "linear" and self.hidden_size is not None:
            raise ValueError(f"hidden_size is for kind=mlp alone, but got kind=linear, hidden_size={self.hidden_size}")
        return self


class SmartConfig(Part):
    """SMART's smoothness-inducing adversarial regularizer (Jiang et al. 2020, https://arxiv.org/abs/1911.03437)."""

    enabled: bool = Field(False, description="add the regularizer to the loss")
    weights: dict[str, Weight] = Field(default_factory=dict, description="lambda of each task; 1 where not given")
    step_size: float = Field(
        0.1, ge=0, le=10, description="eta: length of the one ascent step, per token in the inf-norm (see docs/decisions/0003)"
    )
    noise_std: float = Field(1e-3, ge=0, le=1, description="sigma: standard deviation of the starting noise")
    epsilon: float = Field(1e-6, gt=0, le=1, description="added to the norm that the gradient is divided by")


class ObjectiveConfig(Part):
    """What is added to the plain losses (cross-entropy, binary cross-entropy, squared error)."""

    smart: SmartConfig = SmartConfig()


class BalancingConfig(Part):
    """How the tasks' losses meet."""

    loss_weights: dict[str, Weight] = Field(default_factory=dict, description="factor of each task's loss; 1 where not given")


class OptimizerConfig(Part):
    """Optimizer, learning-rate schedule and clipping."""

    name: Literal["adamw"] = Field("adamw", description="AdamW (Loshchilov & Hutter 2019)")
    lr: float = Field(1e-5, gt=0, le=1, description="peak learning rate of the encoder")
    head_lr_scale: float = Field(1.0, gt=0, le=10_000, description="learning rate of the heads over that of the encoder")
    weight_decay: float = Field(0.01, ge=0, le=1, description="decoupled; biases and layer norms are spared")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-6, gt=0, le=1)
    lr_schedule: Literal["constant", "linear", "cosine", "slanted_triangular"] = Field(
        "constant", description="course of the learning rate over each phase"
    )
    warmup_fraction: float = Field(0.0, ge=0, lt=1, description="share of the phase in which the rate climbs")
    max_grad_norm: float | None = Field(1.0, gt=0, description="clip the gradient to this 2-norm; null: never")

    @model_validator(mode="after")
    def _triangle_needs_a_slope(self) -> "OptimizerConfig":
        if self.lr_schedule == "slanted_triangular" and self.warmup_fraction == 0:
            raise ValueError("warmup_fraction > 0 must hold for lr_schedule=slanted_triangular, but got warmup_fraction=0.0")
        return self


class PhaseConfig(Part):
    """One stretch of training: which tasks, whose turn when, for how much of the budget, and what may move."""

    tasks: tuple[str, ...] = Field((), strict=False, description="tasks that train; all where not given")
    task_schedule: Literal["sum_of_losses", "round_robin", "whole_dataset_round_robin"] = Field(
        "round_robin",
        description="`sum_of_losses`: a batch of every task in each step; `round_robin`: a batch of one task a step, in turn; "
        "`whole_dataset_round_robin`: all rows of one task, then of the next (studentbert 4.1, 4.3; best_fit 4.4)",
    )
    share: float = Field(1.0, gt=0, le=1, description="share of the budget; the shares of all phases add up to 1")
    trainable: Literal["everything", "heads"] = Field("everything", description="`heads`: the encoder stands still")
    lr: float | None = Field(None, gt=0, le=1, description="peak learning rate of this phase; null: optimizer.lr")

    @field_validator("tasks")
    @classmethod
    def _tasks_differ(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"each task may stand once, but got {', '.join(tasks)}")
        return tasks


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
    num_threads: int = Field(1, ge=1, le=1024, description="CPU threads of torch; another number changes the last digits")
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
        problems = unknown_tasks(self.model_dump(), self.tasks.names)
        if problems:
            raise ConfigError(problems)
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
        return self.parse(assign(self.to_tree(), assignments))


BY_TASK: Mapping[str, Any] = {"heads": {}, "objective.smart.weights": 1.0, "balancing.loss_weights": 1.0}
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
    """The config in a YAML file, or the default one, about the tasks in another file where one is given.

    Raises:
        ConfigError: every mistake in both.
    """
    problems = Problems()
    tree = problems.attempt(lambda: read_yaml(file)) if file else {}
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
