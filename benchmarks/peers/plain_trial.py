"""One trial of the plain search: `transformers.Trainer` as a function that reports to Ray Tune."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray import tune
from torch.utils.data import WeightedRandomSampler
from transformers import DataCollatorWithPadding, EvalPrediction, PrinterCallback, Trainer, TrainerCallback, set_seed

from benchmarks.peers.hf_trainer import arguments_in
from benchmarks.peers.multitask_bert import MultitaskBert, load_tokenizer
from benchmarks.search_workload import SearchWorkload
from trainables.evaluation import metric
from trainables.tasks import CS224N

_EVAL_BATCH_SIZE = 64
"""Not the library's 8: a sixteenth more padding on the sample, and seven times the calls."""


@dataclass(frozen=True)
class TokenRows:
    """Rows as `transformers.Trainer` takes them.

    Attributes:
        train: all training rows.
        early: of dev, what reports before the last are scored on.
        dev: all of dev, for the last report.
    """

    train: list[dict[str, Any]]
    early: list[dict[str, Any]]
    dev: list[dict[str, Any]]


def train_trial(point: Mapping[str, Any], workload: SearchWorkload, rows: TokenRows) -> None:
    """Trains at one point of the space, `dropout` and some `TrainingArguments`, and reports as often as `workload` says."""
    torch.set_num_threads(1)
    set_seed(workload.seed)
    tokenizer = load_tokenizer(workload.encoder)
    options = {name: value for name, value in point.items() if name != "dropout"}
    due = due_steps(workload.budget, workload.reports, options["per_device_train_batch_size"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = _Balanced(
            MultitaskBert(workload.encoder, point["dropout"]),
            arguments_in(
                folder,
                max_steps=due[-1],
                seed=workload.seed,
                label_names=["labels", "task"],
                per_device_eval_batch_size=_EVAL_BATCH_SIZE,
                **options,
            ),
            train_dataset=rows.train,
            eval_dataset=rows.early,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=scores,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Reports(trainer, rows.dev, due, workload.early_dev_share))
        trainer.train()


def due_steps(budget: int, reports: int, batch_size: int) -> list[int]:
    """The step after which each report is due: the one that reaches its share of the examples, as in our trainer.

    Raises:
        ValueError: two reports would be due after one step.
    """
    steps = [-(-round((number + 1) * budget / reports) // batch_size) for number in range(reports)]
    if len(set(steps)) < reports:
        raise ValueError(f"each report needs a step, but got {budget} examples, {reports} reports, batches of {batch_size}")
    return steps


def scores(prediction: EvalPrediction) -> dict[str, float]:
    """Each task's metric, and the leaderboard's score."""
    labels, tasks = prediction.label_ids
    metrics = {}
    for number, task in enumerate(CS224N.tasks):
        own = tasks == number
        outputs = prediction.predictions[own]
        metrics[task.metric_key] = metric(task, outputs if task.target == "classes" else outputs[:, 0], labels[own])
    return metrics | {"score": CS224N.score_of(metrics)}


class _Balanced(Trainer):
    """Draws from all tasks alike, however many rows each has: mixed batches, as the library makes them."""

    def _get_train_sampler(self, train_dataset: Any = None) -> WeightedRandomSampler:
        return balanced_sampler([row["task"] for row in train_dataset or self.train_dataset])


def balanced_sampler(tasks: Sequence[int]) -> WeightedRandomSampler:
    """As many rows as there are, drawn with replacement, each task as likely as the others; `tasks` holds each row's."""
    counts = np.bincount(tasks)
    return WeightedRandomSampler((1 / counts[np.asarray(tasks)]).tolist(), len(tasks))


class _Reports(TrainerCallback):
    """Has dev scored where a report is due, and hands the scores to Tune."""

    def __init__(self, trainer: Trainer, dev: list[dict[str, Any]], due: list[int], early_share: float) -> None:
        self.trainer, self.dev, self.due, self.early_share = trainer, dev, due, early_share

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Trainer's hook."""
        control.should_evaluate = state.global_step in self.due
        if state.global_step == self.due[-1]:
            self.trainer.eval_dataset = self.dev

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        """Trainer's hook."""
        found = {key.removeprefix("eval_"): float(value) for key, value in metrics.items() if np.isscalar(value)}
        share = 1.0 if state.global_step == self.due[-1] else self.early_share
        tune.report({**found, "examples": state.global_step * args.per_device_train_batch_size, "dev_share": share})
