"""The loop of CS224N's starter code: strings in the data set, tokenised and padded in `collate_fn`, a task a step, in turn."""

import itertools
import time
from collections.abc import Mapping

import torch
from torch.utils.data import DataLoader

from benchmarks.peers.multitask_bert import MAX_TOKENS, TASKS, MultitaskBert, examples, load_tokenizer
from benchmarks.workload import Workload
from trainables.data.rows import Rows


class Cs224nLoop:
    """AdamW steps one weight after the other, as the starter code's own optimizer does.

    Args:
        workload: to train on.
        rows: of each task, instead of all training rows.
    """

    def __init__(self, workload: Workload, rows: Mapping[str, Rows] | None = None) -> None:
        torch.set_num_threads(workload.num_threads)
        torch.manual_seed(0)
        self.workload = workload
        self.tokenizer = load_tokenizer()
        self.model = MultitaskBert().train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, foreach=False)
        by_number = itertools.groupby(examples(rows or workload.rows()), key=lambda row: row[0])
        by_task = {number: list(group) for number, group in by_number}
        self.loaders = [
            DataLoader(by_task[number], workload.batch_size, shuffle=True, collate_fn=self._collate)
            for number in range(len(TASKS))
        ]
        self.batches = [iter(loader) for loader in self.loaders]
        self.step = 0

    def _collate(self, rows: list[tuple[int, tuple[str, ...], float]]) -> dict[str, torch.Tensor]:
        tasks, sentences, labels = zip(*rows, strict=True)
        texts = [list(column) for column in zip(*sentences, strict=True)]
        encoded = self.tokenizer(*texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        return {**encoded, "task": torch.tensor(tasks), "labels": torch.tensor(labels)}

    def _next_batch(self) -> dict[str, torch.Tensor]:
        number = self.step % len(TASKS)
        try:
            return next(self.batches[number])
        except StopIteration:
            self.batches[number] = iter(self.loaders[number])
            return next(self.batches[number])

    def run(self) -> tuple[float, float]:
        """One turn: tokens without padding, seconds."""
        tokens, started = 0, time.perf_counter()
        for _ in range(self.workload.num_steps):
            batch = self._next_batch()
            self.optimizer.zero_grad()
            loss = self.model(**batch)["loss"]
            loss.backward()
            self.optimizer.step()
            loss.item()  # the starter code adds it up
            tokens += int(batch["attention_mask"].sum())
            self.step += 1
        return tokens, time.perf_counter() - started
