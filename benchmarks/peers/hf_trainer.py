"""`transformers.Trainer` over all rows of the three tasks, tokenised before, padded by its collator."""

import tempfile
import time
from typing import Any

import torch
from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from benchmarks.peers.multitask_bert import MultitaskBert, load_tokenizer, tokenised
from benchmarks.workload import Workload

_FIRST_STEPS = 2
"""Left out of each turn: `train()` sets itself up in them."""


def arguments_in(folder: str, **options: Any) -> TrainingArguments:
    """The library's defaults but for `options`: on the CPU, without checkpoints or a progress bar."""
    quiet = {"save_strategy": "no", "disable_tqdm": True, "report_to": "none"}
    return TrainingArguments(folder, use_cpu=True, remove_unused_columns=False, **quiet, **options)


class HfTrainer:
    """The library's trainer with its defaults but for `options`.

    Args:
        workload: to train on.
        options: further `TrainingArguments`.
    """

    def __init__(self, workload: Workload, options: dict[str, Any]) -> None:
        torch.set_num_threads(workload.num_threads)
        self.workload, self.options = workload, options
        self.tokenizer = load_tokenizer()
        self.rows = tokenised(workload.rows(), self.tokenizer)
        self.model = MultitaskBert()
        self.turn = 0

    def run(self) -> tuple[float, float]:
        """One turn: tokens without padding, seconds."""
        self.turn += 1
        clock = _Clock()
        with tempfile.TemporaryDirectory() as folder:
            arguments = arguments_in(
                folder,
                max_steps=_FIRST_STEPS + self.workload.num_steps,
                per_device_train_batch_size=self.workload.batch_size,
                learning_rate=1e-5,
                seed=self.turn,
                **self.options,
            )
            pad = DataCollatorWithPadding(self.tokenizer)

            def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
                batch = pad(rows)
                clock.tokens.append(int(batch["attention_mask"].sum()))
                return dict(batch)

            trainer = Trainer(self.model, arguments, train_dataset=self.rows, data_collator=collate, callbacks=[clock])
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        return sum(clock.tokens[_FIRST_STEPS : _FIRST_STEPS + self.workload.num_steps]), clock.ended - clock.started


class _Clock(TrainerCallback):
    """When the first steps and the last one were over, and the tokens of each batch that was made."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.started = self.ended = 0.0

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Trainer's hook."""
        self.ended = time.perf_counter()
        if state.global_step == _FIRST_STEPS:
            self.started = self.ended
