"""The loop of one trial.  It has never heard of a search: `advance`, `save`, `load`.

A run that is stopped, saved, loaded and continued gives the numbers of the run that was never stopped, bit for bit on a CPU.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainables.balancing.loss_weights import weighted_sum
from trainables.balancing.task_schedules import TASK_SCHEDULES, rows_a_round
from trainables.config import PhaseConfig, TrialConfig
from trainables.data.batching import Batch, ExampleStream, gather
from trainables.data.tokens import TokenStore
from trainables.evaluation import evaluate
from trainables.inputs import differences, open_inputs
from trainables.lr_schedules import LR_SCHEDULES
from trainables.memory import keep_freed_memory
from trainables.model.files import save_model
from trainables.model.multitask import MultitaskModel
from trainables.objectives.objective import Objective
from trainables.optimizers import build_optimizer, clip_gradients, load_optimizer_tensors, optimizer_tensors, set_lr
from trainables.paths import read_yaml

Metrics = dict[str, float]
"""One report: plain numbers by name (see `Trainer.advance`)."""

SEEDS = {"init": 1, "order": 2, "dropout": 3, "noise": 4}
"""What is drawn at random; each has its own stream, made of the config's seed and this number."""


class Diverged(RuntimeError):  # noqa: N818 - it is the name of how a trial ends
    """A loss, a gradient or a prediction is no finite number; the message names the step and the task."""


@dataclass
class Position:
    """How far the loop has come; with weights, optimizer, generators and history, all of its state.

    Attributes:
        examples: training examples seen.
        tokens: tokens of those.
        step: optimizer steps.
        phase: number of the phase of the last step.
        step_in_phase: steps of that phase.
        taken: rows taken of each task.
    """

    examples: int = 0
    tokens: int = 0
    step: int = 0
    phase: int = 0
    step_in_phase: int = 0
    taken: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """What one step measured: the weighted loss, each task's loss, the gradient's norm before clipping, the learning rate."""

    loss: float
    task_losses: dict[str, float]
    grad_norm: float
    lr: float


class Trainer:
    """Trains one config from report to report.

    Args:
        config: of the trial.
        token_store: tokens of `config.data` under `config.encoder`, where they are open already.

    Attributes:
        config: the resolved config: `budget_examples` is filled in.
        history: all reports so far, the first one first.

    Raises:
        ConfigError: encoder or data cannot be used, or do not fit the config.
    """

    def __init__(self, config: TrialConfig, *, token_store: TokenStore | None = None) -> None:
        inputs = open_inputs(config, token_store)
        self.config, self.files, self.store = inputs.config, inputs.files, inputs.store
        self.history: list[Metrics] = []
        self.position = Position()
        keep_freed_memory()
        with _threads(config.num_threads):
            self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            self.model = MultitaskModel(self.config, self.files, self._generator("init", "cpu")).to(self.device)
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.objective = Objective(config.objective)
        self.tables = {name: self.store.table(name, "train") for name in self.config.tasks.names}
        self.streams = {
            name: ExampleStream(table.num_rows, seed=(config.seed, SEEDS["order"], index))
            for index, (name, table) in enumerate(self.tables.items())
            if table.num_rows
        }
        self.masks = self._generator("dropout", self.device)
        self.noise = self._generator("noise", self.device)

    def _generator(self, purpose: str, device: torch.device | str) -> torch.Generator:
        seed = np.random.SeedSequence((self.config.seed, SEEDS[purpose])).generate_state(1, np.uint64)[0]
        return torch.Generator(device).manual_seed(int(seed))

    @property
    def budget(self) -> int:
        """Training examples of the whole run."""
        assert self.config.budget_examples is not None
        return self.config.budget_examples

    @property
    def done(self) -> bool:
        """True after the last report."""
        return len(self.history) == self.config.num_reports

    def advance(self) -> Metrics:
        """Trains until the next report is due, scores dev, and reports.

        It is due after the step that reaches its budget: `examples` >= `budget`, by less than one step's examples.  Configs whose
        steps differ in size are so compared at budgets that differ by less than a step.

        Returns:
            `report` (from 1), `budget` (examples at which it was due), `examples` and `tokens` (really seen, from the start);
            `score`, `mean_score` and each task's metric, such as `sst_accuracy`, on `dev_share` of dev; since the last report:
            `loss` (weighted, mean over steps), `loss_sst`, `loss_qqp`, `loss_sts` (of tasks that had a turn; with SMART's term),
            `grad_norm` (mean, before clipping), `train_seconds`, `eval_seconds`, `examples_per_second`, `tokens_per_second`;
            `lr` of the last step.

        Raises:
            Diverged: a loss, the gradient or a prediction is not finite.
            RuntimeError: the run is done.
        """
        if self.done:
            raise RuntimeError(f"all {self.config.num_reports} reports are given")
        due = round((len(self.history) + 1) * self.budget / self.config.num_reports)
        before = Position(**asdict(self.position))
        with _threads(self.config.num_threads):
            started = time.perf_counter()
            results = []
            while self.position.examples < due:
                results.append(self._step())
            trained = time.perf_counter()
            dev_share = 1.0 if len(self.history) + 1 == self.config.num_reports else self.config.early_dev_share
            scores = evaluate(self.model, self.store, share=dev_share).metrics
            evaluated = time.perf_counter()
        if not math.isfinite(scores["score"]):
            raise Diverged(f"step {self.position.step}: predictions of dev are not finite")
        metrics: Metrics = {"report": len(self.history) + 1, "budget": due}
        metrics |= {"examples": self.position.examples, "tokens": self.position.tokens, "dev_share": dev_share, **scores}
        metrics |= _summary(results) if results else {key: self.history[-1][key] for key in _SUMMARY_KEYS}
        metrics |= _speed(before, self.position, trained - started, evaluated - trained)
        self.history.append(metrics)
        return dict(metrics)

    def _step(self) -> StepResult:
        """One optimizer step: choose tasks, forward, objective, balance, clip, step."""
        phase = self._phase()
        tasks = TASK_SCHEDULES[phase.task_schedule](
            self.position.step_in_phase, phase.tasks, self._rows_a_round(phase), self.config.data.batch_size
        )
        batches = [self._next_batch(task) for task in tasks]
        losses = self.objective(self.model, batches, masks=self.masks, noise=self.noise)
        loss = weighted_sum(losses, self.config.balancing.loss_weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = clip_gradients(self.model.parameters(), self.config.optimizer.max_grad_norm)
        result = self._measure(loss, losses, grad_norm, lr=self._lr(phase, sum(batch.num_examples for batch in batches)))
        set_lr(self.optimizer, result.lr)
        self.optimizer.step()
        self._count(batches)
        return result

    def _phase(self) -> PhaseConfig:
        """The phase that the next step belongs to, entered if it is a new one."""
        number = next(number for number, end in enumerate(self._phase_ends()) if self.position.examples < end)
        if number != self.position.phase:
            self.position.phase, self.position.step_in_phase = number, 0
        phase = self.config.phases[number]
        if self.model.encoder_stands_still != (phase.trainable == "heads"):
            self.model.set_trainable(phase.trainable)
        return phase

    def _phase_ends(self) -> list[int]:
        """Examples at which each phase ends; the last one ends with the budget."""
        shares = np.cumsum([phase.share for phase in self.config.phases])
        return [*(round(float(share) * self.budget) for share in shares[:-1]), self.budget]

    def _rows_a_round(self, phase: PhaseConfig) -> dict[str, int]:
        ends = [0, *self._phase_ends()]
        num_examples = ends[self.position.phase + 1] - ends[self.position.phase]
        return rows_a_round({name: table.num_rows for name, table in self.tables.items()}, phase.tasks, num_examples)

    def _next_batch(self, task: str) -> Batch:
        rows = self.streams[task].take(self.config.data.batch_size)
        return gather(
            self.tables[task], rows, task=self.config.tasks.by_name[task], pair_encoding=self.config.encoder.pair_encoding
        )

    def _measure(self, loss: Tensor, losses: dict[str, Tensor], grad_norm: Tensor, *, lr: float) -> StepResult:
        """The step's numbers, fetched from the device at once.

        Raises:
            Diverged: one is not finite; weights are as they were before the step.
        """
        values = torch.stack([loss.detach(), grad_norm, *(inner.detach() for inner in losses.values())]).tolist()
        result = StepResult(values[0], dict(zip(losses, values[2:], strict=True)), values[1], lr)
        names = {f"the loss of {task}": value for task, value in result.task_losses.items()}
        names |= {"the loss": result.loss, f"the gradient's norm ({', '.join(losses)})": result.grad_norm}
        for name, value in names.items():
            if not math.isfinite(value):
                raise Diverged(f"step {self.position.step + 1}: {name} is {value}")
        return result

    def _lr(self, phase: PhaseConfig, num_examples: int) -> float:
        """The encoder's learning rate for a step, by where the middle of its examples lies in the phase.

        So neither the first step of a warm-up nor the last of a decay is lost to a rate of 0.
        """
        ends = [0, *self._phase_ends()]
        start, end = ends[self.position.phase], ends[self.position.phase + 1]
        progress = min((self.position.examples + num_examples / 2 - start) / (end - start), 1.0)
        config = self.config.optimizer
        return (phase.lr or config.lr) * LR_SCHEDULES[config.lr_schedule](progress, config.warmup_fraction)

    def _count(self, batches: Sequence[Batch]) -> None:
        self.position.examples += sum(batch.num_examples for batch in batches)
        self.position.tokens += sum(len(batch.token_ids) for batch in batches)
        self.position.step += 1
        self.position.step_in_phase += 1
        self.position.taken = {task: stream.num_taken for task, stream in self.streams.items()}

    def save(self, folder: Path) -> None:
        """Writes all of the state into a folder, which is made.

        The files of `save_model`, `optimizer.safetensors`, `generators.safetensors` and `state.json`.
        """
        self.save_model(folder)
        save_file(optimizer_tensors(self.optimizer, self.model), folder / "optimizer.safetensors")
        generators = {"dropout": self.masks.get_state(), "noise": self.noise.get_state()}
        save_file(generators, folder / "generators.safetensors")
        state = {"position": asdict(self.position), "history": self.history, "made_from": self._made_from()}
        (folder / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    def save_model(self, folder: Path) -> None:
        """Writes the model alone; `trainables.model.files.load_model` reads it."""
        save_model(self.model, self.files, folder)

    def load(self, folder: Path) -> None:
        """Puts back what `save` wrote for the same config, data and encoder.

        Raises:
            ValueError: config, a data file or the encoder is another one; names it.
        """
        saved_config = read_yaml(folder / "config.yaml")
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        problems = [f"config {line}" for line in differences(saved_config, self.config.to_tree())]
        problems += [f"{line}" for line in differences(state["made_from"], self._made_from())]
        if problems:
            raise ValueError(f"{folder} was made from something else (there, here):\n" + "\n".join(problems))
        self.model.load_weights(folder)
        load_optimizer_tensors(self.optimizer, self.model, load_file(folder / "optimizer.safetensors"))
        generators = load_file(folder / "generators.safetensors")
        self.masks.set_state(generators["dropout"].clone())
        self.noise.set_state(generators["noise"].clone())
        self.position = Position(**state["position"])
        for task, stream in self.streams.items():
            stream.num_taken = self.position.taken.get(task, 0)
        self.history = state["history"]

    def _made_from(self) -> dict[str, dict[str, str]]:
        """Sums of what the run started from."""
        encoder = {"weights": self.files.weights_sha256, "tokenizer": self.files.tokenizer_sha256}
        return {"data": dict(self.store.hashes), "encoder": encoder}


_SUMMARY_KEYS = ("loss", "grad_norm", "lr")


def _summary(results: Sequence[StepResult]) -> Metrics:
    """Means over steps; each task's over the steps in which it had a turn."""
    out = {
        "loss": float(np.mean([result.loss for result in results])),
        "grad_norm": float(np.mean([result.grad_norm for result in results])),
        "lr": results[-1].lr,
    }
    for task in dict.fromkeys(task for result in results for task in result.task_losses):
        out[f"loss_{task}"] = float(np.mean([r.task_losses[task] for r in results if task in r.task_losses]))
    return out


def _speed(before: Position, after: Position, train_seconds: float, eval_seconds: float) -> Metrics:
    return {
        "train_seconds": train_seconds,
        "eval_seconds": eval_seconds,
        "examples_per_second": (after.examples - before.examples) / train_seconds,
        "tokens_per_second": (after.tokens - before.tokens) / train_seconds,
    }


@contextmanager
def _threads(num_threads: int) -> Iterator[None]:
    """Torch at `num_threads` CPU threads, and as it was before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
