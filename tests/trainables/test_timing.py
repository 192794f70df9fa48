"""Timed steps: that they are those of the trial.  How long they take is no test's business."""

import json
import subprocess
import sys
from typing import Any

import pytest

from trainables import timing
from trainables.config import TrialConfig
from trainables.sizes import most_checkpoint_bytes, most_model_bytes
from trainables.timed import TimedTrial
from trainables.timing import Kind, TimedTrainer, time_trial
from trainables.trainer import Trainer

TWO_PHASES = [
    {"tasks": ["qqp"], "share": 0.25, "task_schedule": "round_robin"},
    {"tasks": ["sst", "sts"], "share": 0.75, "task_schedule": "sum_of_losses", "trainable": "heads"},
]


def shares_of(trainer: Trainer) -> dict[Kind, float]:
    """Of the examples of a whole run that each kind of step sees."""
    seen: dict[Kind, int] = {}
    while trainer.position.examples < trainer.budget:
        before = trainer.position.examples
        tasks = tuple(trainer._step().task_losses)
        kind = trainer.position.phase, tasks
        seen[kind] = seen.get(kind, 0) + trainer.position.examples - before
    return {kind: count / sum(seen.values()) for kind, count in seen.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"budget_examples": 360, "data.batch_size": 1},  # places evenly apart would all fall on one task
        {"phases": [{"task_schedule": "sum_of_losses"}]},
        {"phases": [{"task_schedule": "whole_dataset_round_robin"}], "budget_examples": 144},
        {"phases": [{"task_schedule": "annealed", "epochs": 3}], "budget_examples": 360, "data.batch_size": 2},
        {"phases": [{"task_schedule": "random"}], "budget_examples": 360, "data.batch_size": 2},
        {"phases": TWO_PHASES, "budget_examples": 96},
    ],
)
def test_the_mix_of_steps_is_that_of_the_whole_run(changes: dict[str, Any], small_config: TrialConfig) -> None:
    config = small_config.override(changes)
    kinds, real = TimedTrainer(config).kinds(), shares_of(Trainer(config))
    assert sum(kinds.values()) == pytest.approx(1)
    assert set(kinds) == set(real)
    for kind, share in kinds.items():
        assert share == pytest.approx(real[kind], abs=0.08), kind


def test_a_step_of_a_kind_is_one_of_its_tasks(small_config: TrialConfig) -> None:
    trainer = TimedTrainer(small_config.override({"phases": TWO_PHASES, "budget_examples": 96}))
    for kind in trainer.kinds():
        seconds, examples = trainer.step_of(kind)
        assert (trainer.position.phase, examples, seconds > 0) == (kind[0], 4 * len(kind[1]), True)


def test_the_largest_batch_has_the_most_tokens_of_all(small_config: TrialConfig) -> None:
    trainer, real = TimedTrainer(small_config), Trainer(small_config)
    most = 0
    while real.position.examples < real.budget:
        before = real.position.tokens
        real._step()
        most = max(most, real.position.tokens - before)
    kind, num_tokens = trainer.find_largest_batch(trainer.kinds())
    trainer.step_of(kind)
    assert trainer.position.tokens == most == num_tokens == trainer.most_tokens


def test_a_larger_batch_holds_more_by_its_tokens(small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = TimedTrainer(small_config)
    trainer.step_of(next(iter(trainer.kinds())))
    monkeypatch.setattr(timing, "peak_memory_bytes", lambda: 900_000_000)
    monkeypatch.setattr(timing, "held_memory_bytes", lambda: 400_000_000)
    monkeypatch.setattr(trainer, "most_tokens", 100.0)
    assert trainer.memory_of(300.0) == (900_000_000 + 2 * 500_000_000, 0)
    assert trainer.memory_of(100.0) == trainer.memory_of(10.0) == (900_000_000, 0)


def test_gradients_are_held_between_two_steps(small_config: TrialConfig) -> None:
    """So that they are part of what is held, not of what grows with the tokens."""
    trainer = TimedTrainer(small_config)
    trainer.step_of(next(iter(trainer.kinds())))
    assert sum(weight.grad is not None for weight in trainer.trained.parameters()) > 10


@pytest.mark.parametrize(("micro_batch_size", "at_once"), [(None, 1.0), (2, 0.5), (8, 1.0)])
def test_of_a_step_in_parts_one_is_held_at_once(micro_batch_size: int | None, at_once: float, small_config: TrialConfig) -> None:
    trainer = TimedTrainer(small_config.override({"data.batch_size": 4, "data.micro_batch_size": micro_batch_size}))
    trainer.step_of(next(iter(trainer.kinds())))
    assert trainer.most_tokens == trainer.position.tokens * at_once


def test_what_it_says_of_files_is_no_more_than_they_can_be(small_config: TrialConfig) -> None:
    timed, trainer = time_trial(small_config, 30), Trainer(small_config)
    assert 0 < timed.model_bytes <= most_model_bytes(trainer.config, trainer.files)
    assert timed.model_bytes < timed.checkpoint_bytes <= most_checkpoint_bytes(trainer.config, trainer.files)
    assert timed.memory_bytes > 50 * 2**20 and timed.device_memory_bytes == 0
    assert timed.has_largest_batch and timed.num_steps == 12
    assert min(timed.begin_seconds, timed.seconds_per_example, timed.scoring_seconds_per_row, timed.checkpoint_seconds) > 0


def test_without_time_a_step_is_timed_all_the_same(small_config: TrialConfig) -> None:
    timed = time_trial(small_config, 0.0)
    assert timed.num_steps == 1 and not timed.has_largest_batch and timed.seconds_per_example > 0


def ask(question: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "trainables.timing"]
    done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=True)
    return {answer["name"]: answer for answer in map(json.loads, done.stdout.splitlines())}


def test_a_process_times_what_it_can_and_says_why_not_of_the_rest(small_config: TrialConfig) -> None:
    broken = {**small_config.to_tree(), "num_threads": "many"}
    teachers = small_config.override({"objective.distill.teachers.sst": "/no/such/folder"})
    configs = {"broken": broken, "plain": small_config.to_tree(), "taught": teachers.to_tree()}
    answers = ask({"configs": configs, "seconds": 60})
    assert "num_threads" in answers["broken"]["error"]
    assert TimedTrial(**answers["plain"]["timing"]).num_steps == 12
    assert "timing" in answers["taught"]  # teachers that are folders play no part
    assert ask({"configs": {"plain": small_config.to_tree()}, "seconds": 0}) == {}
