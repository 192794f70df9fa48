"""A few real steps of some configs, timed: `python -m trainables.timing`, a process of its own, so that memory can be measured.

It reads `{"configs": {NAME: config}, "seconds": LIMIT}` as JSON from stdin, and writes a line of JSON for each config as soon
as it is timed: `{"name": NAME, "timing": {...}}`, or `{"name": NAME, "error": SENTENCE}`.
"""

import copy
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from trainables.balancing.task_schedules import TASK_SCHEDULES
from trainables.checkpoints import write_checkpoint
from trainables.config import TrialConfig
from trainables.evaluation import evaluate
from trainables.memory import forget_peak_memory, hand_back_freed_memory, held_memory_bytes, peak_memory_bytes
from trainables.plain_files import parse_json
from trainables.secrecy import keep_files_private
from trainables.threads import torch_threads
from trainables.timed import TimedTrial
from trainables.trainer import Trainer

_PLACES, _MOST_ROUNDS, _MOST_BATCHES = 120, 4, 5_000
_WARM_UP, _SCORED_ROWS, _SCORED_ROWS_LATE = 2, 48, 12
_SHARE_OF_STEPS = 0.7
"""Of a trial's time; the rest is for scoring and checkpoint."""
_GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it lie evenly in a phase, and in step with no round of tasks."""


Kind = tuple[int, tuple[str, ...]]
"""Steps that cost alike: the number of their phase, and their tasks."""


class TimedTrainer(Trainer):
    """A trainer that can be put anywhere in its budget, to train a step there.

    Attributes:
        most_tokens: of any step so far that were computed at once.
    """

    most_tokens = 0.0

    def kinds(self) -> dict[Kind, float]:
        """Kinds of steps -> share of the budget's examples that each sees, as the task schedules deal them out."""
        shares: Counter[Kind] = Counter()
        for number, phase in enumerate(self.config.phases):
            places = [self._go_to(number, _GOLDEN * place % 1) for place in range(_PLACES)]
            counts = Counter(places)
            shares.update({(number, tasks): phase.share * count / _PLACES for tasks, count in counts.items()})
        return dict(shares.most_common())

    def _go_to(self, phase_number: int, progress: float) -> tuple[str, ...]:
        """The tasks of the step at a share of a phase, which is the next one."""
        ends = [0, *self._phase_ends()]
        start, num_examples = ends[phase_number], ends[phase_number + 1] - ends[phase_number]
        config = self.config.phases[phase_number]
        a_step = self.config.data.batch_size * (len(config.tasks) if config.task_schedule == "sum_of_losses" else 1)
        step = int(progress * max(1, num_examples // a_step))
        self.position.examples = start + min(step * a_step, max(0, num_examples - 1))
        phase = self._phase()
        self.position.step_in_phase = step
        return TASK_SCHEDULES[phase.task_schedule](self._turn(phase))

    def step_of(self, kind: Kind, batch_size: int | None = None) -> tuple[float, int]:
        """Seconds and examples of a step of this kind; with smaller batches than the trial's where it is said."""
        number, tasks = kind
        whole = self.config
        if batch_size is not None and self.config.data.bucket_window == 1:
            data = whole.data.model_copy(update={"batch_size": min(batch_size, whole.data.batch_size)})
            self.config = whole.model_copy(update={"data": data})
        try:
            return self._step_at(number, tasks)
        finally:
            self.config = whole

    def _step_at(self, number: int, tasks: tuple[str, ...]) -> tuple[float, int]:
        next(None for place in range(_PLACES) if self._go_to(number, _GOLDEN * place % 1) == tasks)
        examples, tokens = self.position.examples, self.position.tokens
        seconds = self._seconds_of(self._step)
        self.most_tokens = max(self.most_tokens, self._at_once(self.position.tokens - tokens))
        return seconds, self.position.examples - examples

    def _at_once(self, tokens: int) -> float:
        """How many of a step's tokens are computed at once."""
        data = self.config.data
        return tokens * min(1.0, (data.micro_batch_size or data.batch_size) / data.batch_size)

    def find_largest_batch(self, kinds: Mapping[Kind, float]) -> tuple[Kind, float]:
        """Puts the streams where the batch with the most tokens of the whole budget comes next.

        Returns:
            The kind of its step, and its tokens that are computed at once.
        """
        size, most, found = self.config.data.batch_size, -1, next(iter(kinds))
        of_tasks = {task: self._tokens_of_batches(task) for _, tasks in kinds for task in tasks}
        for kind, share in kinds.items():
            num_steps = max(1, min(_MOST_BATCHES, round(share * self.budget / size / len(kind[1]))))
            of_steps = [sum(tokens) for tokens in zip(*(of_tasks[task][:num_steps] for task in kind[1]), strict=True)]
            place = max(range(len(of_steps)), key=of_steps.__getitem__)
            if of_steps[place] > most:
                most, found = of_steps[place], kind
                places = dict.fromkeys(kind[1], place)
        for task, place in places.items():
            self.streams[task].num_taken = place * size
        return found, self._at_once(most)

    def memory_of(self, num_tokens: float) -> tuple[int, int]:
        """What a step of so many tokens at once would hold, by the largest one so far: bytes of memory, and of the GPU's.

        Beside what is held between two steps, gradients with it, all of it grows with the tokens.
        """
        growth = max(0.0, num_tokens / self.most_tokens - 1)
        peak, device_peak = peak_memory_bytes(), _device_peak(self.device)
        is_on_device = self.device.type == "cuda"
        hand_back_freed_memory()
        of_batch = 0 if is_on_device else max(0, peak - held_memory_bytes())
        of_device = max(0, device_peak - torch.cuda.memory_allocated(self.device)) if is_on_device else 0
        return peak + round(growth * of_batch), device_peak + round(growth * of_device)

    def _tokens_of_batches(self, task: str) -> list[int]:
        stream, lengths = copy.copy(self.streams[task]), self.tables[task].sequence_lengths
        stream.num_taken, size = 0, self.config.data.batch_size
        num_batches = max(1, min(_MOST_BATCHES, round(self.budget / size)))
        return [int(lengths[self.rows[task][stream.take(size)]].sum()) for _ in range(num_batches)]

    def scoring_seconds_per_row(self, num_rows: int) -> float:
        """Of about so many rows of dev."""
        tables = [self.store.table(task, "dev").num_rows for task in self.config.tasks.names]
        share = min(1.0, num_rows / sum(tables))
        scored = sum(min(rows, max(2, round(share * rows))) for rows in tables)
        return self._seconds_of(lambda: evaluate(self.model, self.store, share=share, resident=self.resident)) / scored

    def _seconds_of(self, do: Callable[[], object]) -> float:
        started = time.perf_counter()
        do()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started


def time_trial(config: TrialConfig, seconds: float) -> TimedTrial:
    """Times a trial: after a small step that warms up, a few of each kind; of fewer examples where one would take too long.

    Frozen layers are computed in each step, as before there is a cache of them; teachers that are folders predict nothing here.

    Args:
        config: of the trial.
        seconds: after which no further step is begun; looked at between steps.

    Raises:
        ConfigError: encoder or data cannot be used.
        Diverged: a step has no finite numbers.
    """
    teachers = {f"objective.distill.teachers.{task}": None for task in config.tasks.names}
    until = time.monotonic() + seconds
    forget_peak_memory()
    started = time.perf_counter()
    trainer = TimedTrainer(config.override({"encoder.frozen_cache": "never", **teachers}))
    begin_seconds = time.perf_counter() - started
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trainer.device)
    with torch_threads(config.num_threads):
        kinds = trainer.kinds()
        per_example, num_steps, has_largest = _time_steps(trainer, kinds, until - (1 - _SHARE_OF_STEPS) * seconds)
        memory, device_memory = (0, 0) if has_largest else trainer.memory_of(trainer.find_largest_batch(kinds)[1])
        per_row = trainer.scoring_seconds_per_row(_SCORED_ROWS if time.monotonic() < until else _SCORED_ROWS_LATE)
    checkpoint_seconds, checkpoint_bytes, model_bytes = _time_checkpoint(trainer)
    return TimedTrial(
        begin_seconds=begin_seconds,
        seconds_per_example=per_example,
        num_steps=num_steps,
        scoring_seconds_per_row=per_row,
        checkpoint_seconds=checkpoint_seconds,
        checkpoint_bytes=checkpoint_bytes,
        model_bytes=model_bytes,
        memory_bytes=max(memory, peak_memory_bytes()),
        device_memory_bytes=max(device_memory, _device_peak(trainer.device)),
        has_largest_batch=has_largest,
    )


def _device_peak(device: torch.device) -> int:
    """The most that the GPU's allocator has held; 0 without one."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0


def _time_steps(trainer: TimedTrainer, kinds: Mapping[Kind, float], until: float) -> tuple[float, int, bool]:
    """Seconds an example over all kinds of steps, how many steps that is of, and whether the largest batch was among them."""
    first = next(iter(kinds))
    trainer.step_of(first, _WARM_UP)
    warm_up = trainer.step_of(first, _WARM_UP)
    a_step = warm_up[0] / warm_up[1] * trainer.config.data.batch_size * len(first[1])
    fits = (until - time.monotonic()) / len(kinds) / a_step
    fewer = None if fits >= 1 else max(_WARM_UP, int(fits * trainer.config.data.batch_size))
    timed: dict[Kind, list[tuple[float, int]]] = {kind: [] for kind in kinds}
    has_largest = False
    for number in range(_MOST_ROUNDS):
        for kind in kinds:
            if time.monotonic() < until:
                timed[kind].append(trainer.step_of(kind, fewer))
        if number == 0 and fewer is None and time.monotonic() < until:
            trainer.step_of(trainer.find_largest_batch(kinds)[0])
            has_largest = True
    steps = [step for inner in timed.values() for step in inner] or [warm_up]
    of_all = _mean(steps)
    per_example = sum(share * (_mean(timed[kind]) if timed[kind] else of_all) for kind, share in kinds.items())
    return per_example / sum(kinds.values()), len(steps), has_largest


def _mean(steps: list[tuple[float, int]]) -> float:
    return sum(seconds for seconds, _ in steps) / sum(examples for _, examples in steps)


def _time_checkpoint(trainer: Trainer) -> tuple[float, int, int]:
    """Seconds, and bytes of checkpoint and model, of what a report writes (`trainables.session`); the disk is not waited for."""
    with tempfile.TemporaryDirectory(prefix="tritune-timing-") as name:
        started = time.perf_counter()
        checkpoint = write_checkpoint(Path(name), "report", trainer.save, sync=False)
        model = write_checkpoint(Path(name), "best", trainer.save_model, sync=False)
        checkpoint_bytes, model_bytes = _num_bytes(checkpoint), _num_bytes(model)
        shutil.rmtree(checkpoint)
        return time.perf_counter() - started, checkpoint_bytes, model_bytes


def _num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _time_one(tree: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What came of one config; it is the process's own end alone that ends the others."""
    try:
        return {"timing": asdict(time_trial(TrialConfig.parse(tree), seconds))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}


def main() -> None:
    """Times what is asked for on stdin, in that order, as long as there is time."""
    question = parse_json(sys.stdin.read())
    until = time.monotonic() + float(question["seconds"])
    names = list(question["configs"])
    for place, name in enumerate(names):
        left = until - time.monotonic()
        if left <= 0:
            break
        answer = _time_one(question["configs"][name], left / (len(names) - place))
        sys.stdout.write(json.dumps({"name": name, **answer}) + "\n")
        sys.stdout.flush()
        hand_back_freed_memory()
    os._exit(0)


if __name__ == "__main__":
    keep_files_private()
    main()
