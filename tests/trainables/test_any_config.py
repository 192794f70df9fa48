"""Whatever combination of options the config accepts can be trained: configs drawn at random, 20 steps each."""

import functools
import math
import random
from pathlib import Path
from typing import Any

import pytest

from trainables.config import TrialConfig
from trainables.inputs import open_inputs
from trainables.parts import ConfigError
from trainables.trainer import Trainer

NUM_STEPS = 20
BASE = TrialConfig.parse({"data": {"max_tokens": 16, "batch_size": 3}, "encoder": {"name": "tiny"}, "num_reports": 1})
WEIGHTS = (0.0, 0.3, 2.0)
BY_TASK: dict[str, dict[str, tuple[Any, ...]]] = {
    "data.train_share": dict.fromkeys(BASE.tasks.names, (1.0, 0.02)),
    "data.eda.copies": {"sst": (0, 0, 2), "qqp": (0,), "sts": (0,)},
    "objective.losses": dict.fromkeys(BASE.tasks.names, ("default", "ordered_cross_entropy")),
    "objective.smart.weights": dict.fromkeys(BASE.tasks.names, WEIGHTS),
    "objective.contrastive.weights": dict.fromkeys(BASE.tasks.names, WEIGHTS),
    "objective.ranking.weights": dict.fromkeys(BASE.tasks.names, WEIGHTS),
    "balancing.loss_weights": dict.fromkeys(BASE.tasks.names, WEIGHTS),
}
HEAD: dict[str, tuple[Any, ...]] = {
    "kind": ("linear", "mlp", "conv1d", "abs_difference", "abs_difference_linear", "cosine", "compress_expand"),
    "hidden_size": (None, 5),
    "activation": (None, "relu", "gelu", "tanh"),
    "output": ("identity", "relu", "sigmoid"),
    "pooling": (None, "cls", "mean", "max", "attention"),
    "concatenation": ("u_v_difference", "u_v"),
    "dropout": (0.0, 0.5),
}
OPTIONS: dict[str, tuple[Any, ...]] = {
    "data.batch_size": (1, 3),
    "data.micro_batch_size": (None, 2),
    "data.bucket_window": (1, 4),
    "encoder.pair_encoding": ("cross", "bi", "bi"),
    "encoder.pooling": ("cls", "mean", "max", "attention"),
    "encoder.dropout": (0.0, 0.3),
    "encoder.cls_tokens": (1, 2),
    "encoder.copies": ("one", "singles_and_pairs"),
    "encoder.lora.rank": (0, 3),
    "encoder.lora.alpha": (1.0, 16.0),
    "encoder.lora.targets": ("attention", "all"),
    "objective.smart.enabled": (False, True),
    "objective.smart.step_size": (0.0, 1.0),
    "objective.smart.noise_std": (0.0, 1e-3),
    "objective.smart.epsilon": (1e-6, 1.0),
    "objective.smart.dropout": ("same_masks", "off"),
    "objective.smart.divergence": ("symmetric_kl", "kl"),
    "objective.smart.batch_share": (1.0, 0.5),
    "objective.bregman.mu": (0.0, 1.0),
    "objective.bregman.beta": (0.0, 0.9),
    "objective.bregman.late_beta": (0.0, 0.999),
    "objective.contrastive.margin": (0.0, 0.5, 2.0),
    "objective.ranking.scale": (1.0, 20.0),
    "objective.distill.gamma": (0.0, 1.0),
    "balancing.weighting": ("fixed", "uncertainty"),
    "balancing.gradients": ("sum", "pcgrad"),
    "encoder.frozen_cache": ("auto", "always", "never"),
    "precision": ("fp32", "bf16", "auto"),
    "optimizer.name": ("adamw", "lion"),
    "optimizer.lr": (1e-5, 1e-3),
    "optimizer.head_lr_scale": (0.1, 10.0),
    "optimizer.weight_decay": (0.0, 0.1),
    "optimizer.beta1": (0.0, 0.9),
    "optimizer.beta2": (None, 0.5),
    "optimizer.eps": (1e-6, 1e-3),
    "optimizer.lr_schedule": ("constant", "linear", "cosine", "slanted_triangular"),
    "optimizer.warmup_fraction": (0.0, 0.5),
    "optimizer.max_grad_norm": (None, 0.1, 1.0),
    "phases": (
        [{}],
        [{"task_schedule": "sum_of_losses"}],
        [{"tasks": ["qqp"], "share": 0.5}, {"task_schedule": "sum_of_losses", "share": 0.5}],
        [{"task_schedule": "random", "lr": 1e-3}],
        [{"task_schedule": "annealed", "epochs": 2}],
        [{"task_schedule": "annealed", "batches_per_epoch": 3}],
        [{"task_schedule": "sum_of_losses", "tasks": ["qqp", "sts"], "share": 0.5}, {"trainable": "heads", "share": 0.5}],
        [{"task_schedule": "whole_dataset_round_robin", "round_share": {"qqp": 0.1}, "frozen_layers": 1}],
        [{"tasks": ["sst"], "frozen_layers": 2}],
    ),
    **{f"{path}.{task}": values for path, by_task in BY_TASK.items() for task, values in by_task.items()},
    **{f"heads.{task}.{key}": values for task in BASE.tasks.names for key, values in HEAD.items()},
}
FIRST = ("phases", "encoder.pair_encoding")
"""What many others depend on."""
ELSEWHERE = {
    "tasks": "test_trainer.py",
    "data.source": "the sample",
    "data.max_tokens": "16",
    "data.normalise_text": "test_tokens.py; each value makes the tokens anew, which takes longer than to train on them",
    "data.eda.share": "test_eda.py; likewise",
    "data.more_rows": "test_more_rows.py",
    "encoder.name": "tiny",
    "objective.distill.teachers": "drawn below",
    "budget_examples": "so many that there are 20 steps",
    "num_reports": "1",
    "early_dev_share": "of reports before the last",
    "data.confirm_share": "test_confirm_part.py; likewise",
    "score_confirm": "test_trainer.py",
    "num_threads": "1",
    "seed": "of the draw",
}

REFUSED_WITH_ITS_INPUTS = ("has no weights that could train", "as the student's, where data.eda copies rows")
"""What can be told only once the encoder or the teachers are known."""


def leaves(tree: Any, path: str = "") -> list[str]:
    """The paths of a tree's values; the fields of all members of a list are told as one."""
    if isinstance(tree, dict) and tree:
        return [leaf for key, inner in tree.items() for leaf in leaves(inner, f"{path}.{key}".lstrip("."))]
    if isinstance(tree, list) and any(isinstance(inner, dict) for inner in tree):
        return list(dict.fromkeys(leaf for inner in tree for leaf in leaves(inner, path)))
    return [path]


def forgotten(tree: dict[str, Any]) -> list[str]:
    """The values of a config's tree that are neither drawn nor looked after elsewhere."""
    of_phases = {f"phases.{key}" for phases in OPTIONS["phases"] for phase in phases for key in phase}
    known = (*(path for path in OPTIONS if path != "phases"), *of_phases, *ELSEWHERE)
    return [leaf for leaf in leaves(tree) if not any(leaf == path or leaf.startswith(f"{path}.") for path in known)]


def test_no_option_is_forgotten() -> None:
    assert forgotten(BASE.to_tree()) == []


@pytest.mark.parametrize("keys", ["optimizer.lr_layer_decay", "data.batch_size_growth", "phases.0.warmup", "heads.sst.kind_of"])
def test_a_new_option_would_be_noticed(keys: str) -> None:
    tree = BASE.to_tree()
    *way, last = keys.split(".")
    functools.reduce(lambda part, key: part[int(key) if key.isdigit() else key], way, tree)[last] = 1.0
    assert forgotten(tree) == [keys.replace(".0", "")]


@functools.cache
def drawn(seed: int, teacher: Path) -> tuple[TrialConfig, list[str]]:
    """A config in which most options have been drawn, and why others were refused."""
    chance = random.Random(seed)
    options = {**OPTIONS, **{f"objective.distill.teachers.{task}": (None, str(teacher)) for task in BASE.tasks.names}}
    config, refusals = BASE.override({"seed": seed}), []
    for path in (*FIRST, *chance.sample([path for path in options if path not in FIRST], 45)):
        try:
            config = config.override({path: chance.choice(options[path])})
        except ConfigError as error:
            refusals += error.problems
    tasks_a_step = max(len(phase.tasks) if phase.task_schedule == "sum_of_losses" else 1 for phase in config.phases)
    return config.override({"budget_examples": NUM_STEPS * config.data.batch_size * tasks_a_step}), refusals


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    Trainer(BASE).save_model(folder)
    return folder


def refused_with_its_inputs(config: TrialConfig) -> list[str]:
    try:
        open_inputs(config)
    except ConfigError as error:
        return error.problems
    return []


def train(seed: int, teacher: Path) -> None:
    config, refusals = drawn(seed, teacher)
    assert all(len(refusal) > 20 for refusal in refusals), "a refusal says why"
    if refused := refused_with_its_inputs(config):
        assert all(any(reason in problem for reason in REFUSED_WITH_ITS_INPUTS) for problem in refused), refused
        return
    trainer = Trainer(config)
    metrics = trainer.advance()
    assert trainer.position.step >= NUM_STEPS - 1
    assert all(math.isfinite(value) for value in metrics.values()), metrics


@pytest.mark.parametrize("seed", range(60))
def test_what_is_accepted_trains(seed: int, teacher: Path) -> None:
    train(seed, teacher)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60, 560))
def test_what_is_accepted_trains_at_length(seed: int, teacher: Path) -> None:
    train(seed, teacher)


def test_options_are_drawn_at_random_and_some_are_refused(teacher: Path) -> None:
    configs, refusals = zip(*(drawn(seed, teacher) for seed in range(60)), strict=True)
    assert len({str(config.to_tree()) for config in configs}) == 60
    assert sum(map(bool, refusals)) > 40
    assert {config.balancing.gradients for config in configs} == {"sum", "pcgrad"}
    assert {config.encoder.copies for config in configs} == {"one", "singles_and_pairs"}
    assert {head.kind for config in configs for head in config.heads.values()} == set(HEAD["kind"])
