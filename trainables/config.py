"""`TrialConfig`: everything that decides what one trial computes, as one frozen value that is checked at birth.

Same config, same machine, same number of threads: same numbers.  No torch here, so that a mistake is found before it is imported.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from trainables.parts import Part, nearest, parse_part
from trainables.paths import assign
from trainables.tasks import TASKS

PACKAGED_ENCODER = "packaged"
TINY_ENCODER = "tiny"
SAMPLE_SOURCE = "sample"
HUB_SOURCE = "hub"


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


def _for_each_task(value: float) -> dict[str, float]:
    return dict.fromkeys(TASKS, value)


class SmartConfig(Part):
    """SMART's smoothness-inducing adversarial regularizer (Jiang et al. 2020, https://arxiv.org/abs/1911.03437)."""

    enabled: bool = Field(False, description="add the regularizer to the loss")
    weights: dict[str, float] = Field(default_factory=lambda: _for_each_task(1.0), description="lambda of each task")
    step_size: float = Field(
        0.1, ge=0, le=10, description="eta: length of the one ascent step, per token in the inf-norm (see docs/decisions/0003)"
    )
    noise_std: float = Field(1e-3, ge=0, le=1, description="sigma: standard deviation of the starting noise")
    epsilon: float = Field(1e-6, gt=0, le=1, description="added to the norm that the gradient is divided by")

    @field_validator("weights")
    @classmethod
    def _a_weight_for_each_task(cls, weights: dict[str, float]) -> dict[str, float]:
        return _check_task_weights(weights)


class ObjectiveConfig(Part):
    """What is added to the plain losses (cross-entropy, binary cross-entropy, squared error)."""

    smart: SmartConfig = SmartConfig()


class BalancingConfig(Part):
    """How the tasks' losses meet."""

    loss_weights: dict[str, float] = Field(default_factory=lambda: _for_each_task(1.0), description="factor of each task's loss")

    @field_validator("loss_weights")
    @classmethod
    def _a_weight_for_each_task(cls, weights: dict[str, float]) -> dict[str, float]:
        return _check_task_weights(weights)


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

    tasks: tuple[str, ...] = Field(tuple(TASKS), strict=False, min_length=1, description="tasks that train")
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
    def _tasks_are_known_and_differ(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for name in tasks:
            _check_task_name(name)
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"each task may stand once, but got {', '.join(tasks)}")
        return tasks


class TrialConfig(Part):
    """One trial, whole: what it trains on, what it trains, how, and for how long."""

    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    heads: dict[str, HeadConfig] = Field(default_factory=lambda: {name: HeadConfig() for name in TASKS})
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

    @field_validator("heads")
    @classmethod
    def _a_head_for_each_task(cls, heads: dict[str, HeadConfig]) -> dict[str, HeadConfig]:
        _check_task_keys(heads)
        return {name: heads[name] for name in TASKS}

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
        return parse_part(cls, tree)

    def to_tree(self) -> dict[str, Any]:
        """The config as plain lists, dicts, strings and numbers; `parse` gives it back."""
        return self.model_dump(mode="json")

    def override(self, assignments: Mapping[str, Any]) -> "TrialConfig":
        """A copy with the value at each path replaced.

        Raises:
            ConfigError: a path that leads nowhere, or a config that breaks a rule once all are assigned.
        """
        return self.parse(assign(self.to_tree(), assignments))


def _check_task_name(name: str) -> None:
    if name not in TASKS:
        raise ValueError(f"{name!r} is no task{nearest(name, TASKS)}; tasks are {', '.join(TASKS)}")


def _check_task_keys(mapping: Mapping[str, Any]) -> None:
    for name in mapping:
        _check_task_name(name)
    missing = [name for name in TASKS if name not in mapping]
    if missing:
        raise ValueError(f"each task needs an entry, but {', '.join(missing)} is missing")


def _check_task_weights(weights: dict[str, float]) -> dict[str, float]:
    _check_task_keys(weights)
    for name, weight in weights.items():
        if not weight >= 0:
            raise ValueError(f"a weight must be >= 0, but got {name}={weight}")
    return {name: weights[name] for name in TASKS}
