"""The loop of one trial.  It has never heard of a search: `advance`, `save`, `load`.

A run that is stopped, saved, loaded and continued gives the numbers of the run that was never stopped, bit for bit on a CPU.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainables.applied import (
    applied_batches,
    applied_model,
    applied_objective,
    applied_optimizer,
    applied_phases,
    applied_schedule,
    applied_turn,
    applied_weights,
)
from trainables.balancing.gradients import Gradients, pcgrad, take_gradients
from trainables.balancing.loss_weights import BALANCING_FILE, LOSS_WEIGHTS, LOSS_WEIGHTS_LR, LossWeights
from trainables.balancing.task_schedules import TASK_SCHEDULES, Turn, begins_in_round, rows_a_round
from trainables.config import TrialConfig
from trainables.config_parts import PhaseConfig, Precision
from trainables.data.batching import Batch, ExampleStream, gather, longest_sequences, micro_batches
from trainables.data.buckets import Buckets
from trainables.data.frozen_states import FrozenTable
from trainables.data.resident import ResidentTokens
from trainables.data.rows import Split, training_rows
from trainables.data.tokens import TokenStore
from trainables.evaluation import evaluate
from trainables.frozen import FrozenLayers
from trainables.heartbeat import beat
from trainables.inputs import differences, open_inputs
from trainables.lr_schedules import LR_SCHEDULES
from trainables.memory import keep_freed_memory
from trainables.model.files import save_model
from trainables.model.multitask import MultitaskModel
from trainables.objectives.bregman import TEACHER_FILE, teacher_of
from trainables.objectives.objective import Objective
from trainables.optimizers import build_optimizer, clip_gradients, load_optimizer_tensors, optimizer_tensors, set_lr
from trainables.outcomes import outcome_of
from trainables.paths import assign, read_yaml
from trainables.plain_files import read_json
from trainables.precision import allow_tf32, resolve
from trainables.steps import SUMMARY_KEYS, Metrics, Position, StepResult, explosion, fetch, speed, summary
from trainables.teachers import teacher_outputs
from trainables.threads import torch_threads

SEEDS = {"init": 1, "order": 2, "dropout": 3, "noise": 4, "turns": 5, "projections": 6}
"""What is drawn at random; each has its own stream, made of the config's seed and this number.

Turns and PCGrad's projections are drawn anew from it and the step's number in each step.
"""


class Diverged(RuntimeError):  # noqa: N818 - it is the name of how a trial ends
    """A loss, a gradient or a prediction is no finite number, or a loss has exploded; the message names the step and the task."""


class Trainer:
    """Trains one config from report to report.

    Args:
        config: of the trial.
        token_store: tokens of `config.data` under `config.encoder`, where they are open already.

    Attributes:
        inputs: what it started from.
        config: the resolved config: `budget_examples` is filled in.
        history: all reports so far, the first one first.
        applied: what the first step really trained with (see `trainables.applied`); None before it.
        first_losses: of each task that has had a turn its loss then, of which `steps.explosion` is judged.

    Raises:
        ConfigError: encoder or data cannot be used, or do not fit the config.
    """

    def __init__(self, config: TrialConfig, *, token_store: TokenStore | None = None) -> None:
        self.inputs = inputs = open_inputs(config, token_store)
        self.config, self.files, self.store = inputs.config, inputs.files, inputs.store
        self.history: list[Metrics] = []
        self.applied: dict[str, Any] | None = None
        self.position = Position()
        self.first_losses: dict[str, float] = {}
        self._examples_at_once = 0
        self.teachers = inputs.teachers if config.objective.distill.gamma else {}
        keep_freed_memory()
        with torch_threads(config.num_threads):
            self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            self.precision = resolve(config.precision, self.files.hidden_size, self.device)
            self.config = self.config.model_copy(update={"precision": self.precision.chosen})
            allow_tf32(self.precision.chosen)
            self.model = MultitaskModel(self.config, self.files, self._generator("init", "cpu")).to(self.device)
            self.teacher_outputs = teacher_outputs(self.config, self.teachers, self.store, self.device)
        self.loss_weights = LossWeights(config.balancing, config.tasks.by_name).to(self.device)
        self.trained = nn.ModuleDict({**dict(self.model.named_children()), LOSS_WEIGHTS: self.loss_weights})
        self.optimizer = build_optimizer(self.trained, config.optimizer)
        self.objective = Objective(config.objective)
        self.teacher = teacher_of(self.model, config.objective.bregman)
        self.tables = {name: self.store.table(name, "train") for name in self.config.tasks.names}
        self.resident = ResidentTokens(self.store, self.device)
        data = config.data
        self.rows = {
            name: training_rows(table.num_rows, data.train_share[name], data.eda.copies[name])
            for name, table in self.tables.items()
        }
        self.frozen = FrozenLayers(self.config, self.files, self.store, self.rows)
        self.streams = {
            name: ExampleStream(len(rows), seed=(config.seed, SEEDS["order"], index), buckets=self._buckets(name))
            for index, (name, rows) in enumerate(self.rows.items())
            if len(rows)
        }
        self.masks = self._generator("dropout", self.device)
        self.noise = self._generator("noise", self.device)

    def _generator(self, purpose: str, device: torch.device | str) -> torch.Generator:
        seed = np.random.SeedSequence((self.config.seed, SEEDS[purpose])).generate_state(1, np.uint64)[0]
        return torch.Generator(device).manual_seed(int(seed))

    def _buckets(self, task: str) -> Buckets | None:
        data, table = self.config.data, self.tables[task]
        if data.bucket_window == 1:
            return None
        lengths = longest_sequences(table, self.config.encoder.pair_encoding)[self.rows[task]]
        return Buckets(lengths, data.batch_size, data.bucket_window)

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
            `grad_norm` (of the model's weights; mean, before clipping), with PCGrad `conflict_share` and `gradient_change_sst`
            and so on (means, see `balancing.gradients`), `train_seconds`, `eval_seconds`, `examples_per_second`,
            `tokens_per_second`; `lr` of the last step; where weights of losses are learnt, `learnt_weight_sst` and so on, the
            factors of the tasks' losses after it (see `LossWeights.learnt`); with `score_confirm`, where all of dev was scored,
            `confirm`: metrics of its confirm part and `outcomes`, what became of each row (see `outcomes.Outcome.to_tree`).

        Raises:
            Diverged: a loss, the gradient or a prediction is not finite, or a task's loss has exploded.
            RuntimeError: the run is done.
        """
        if self.done:
            raise RuntimeError(f"all {self.config.num_reports} reports are given")
        due = round((len(self.history) + 1) * self.budget / self.config.num_reports)
        before = Position(**asdict(self.position))
        with torch_threads(self.config.num_threads):
            started = time.perf_counter()
            results = []
            while self.position.examples < due:
                results.append(self._step())
                self.first_losses = {**results[-1].task_losses, **self.first_losses}
            trained = time.perf_counter()
            if exploded := explosion(results, self.first_losses):
                raise Diverged(f"step {self.position.step}: {exploded}")
            dev_share = 1.0 if len(self.history) + 1 == self.config.num_reports else self.config.early_dev_share
            scores = evaluate(self.model, self.store, share=dev_share, frozen=self._frozen("dev"), resident=self.resident).metrics
            confirm = self._score_confirm() if self.config.score_confirm and dev_share == 1 else {}
            evaluated = time.perf_counter()
        if not all(math.isfinite(part["score"]) for part in (scores, *confirm.values())):
            raise Diverged(f"step {self.position.step}: predictions of dev are not finite")
        metrics: Metrics = {"report": len(self.history) + 1, "budget": due}
        metrics |= {"examples": self.position.examples, "tokens": self.position.tokens, "dev_share": dev_share}
        metrics |= scores | confirm
        metrics |= summary(results) if results else {key: self.history[-1][key] for key in SUMMARY_KEYS}
        metrics |= {f"learnt_weight_{task}": factor.item() for task, factor in self.loss_weights.learnt().items()}
        metrics |= speed(before, self.position, trained - started, evaluated - trained)
        self.history.append(metrics)
        return dict(metrics)

    def _score_confirm(self) -> dict[str, Any]:
        """Under `confirm` the metrics of dev's confirm part, and as `outcomes` what became of each of its rows."""
        scored = evaluate(self.model, self.store, "confirm", resident=self.resident)
        tasks = self.config.tasks.by_name
        outcomes = {name: outcome_of(tasks[name], scored.predictions[name], labels) for name, labels in scored.labels.items()}
        return {"confirm": {**scored.metrics, "outcomes": {name: outcome.to_tree() for name, outcome in outcomes.items()}}}

    def _step(self) -> StepResult:
        """One optimizer step: choose tasks, forward, objective, balance, clip, step."""
        phase = self._phase()
        turn = self._turn(phase)
        tasks = TASK_SCHEDULES[phase.task_schedule](turn)
        self._begin_round(phase, turn)
        batches = [self._next_batch(task) for task in tasks]
        self.optimizer.zero_grad(set_to_none=True)
        apart = self.config.balancing.gradients == "pcgrad" and len(batches) > 1
        loss, losses, diagnostics = self._backward_apart(batches) if apart else (*self._backward(batches), {})
        grad_norm = clip_gradients(self.model.parameters(), self.config.optimizer.max_grad_norm)
        progress = self._progress(sum(batch.num_examples for batch in batches))
        result = self._measure(loss, losses, grad_norm, diagnostics, lr=self._lr_at(phase, progress))
        set_lr(self.optimizer, result.lr, self._factor_at(progress))
        if self.applied is None:
            self.applied = self._read_back(phase, batches, is_apart=apart)
        self.optimizer.step()
        self._count(batches)
        if self.teacher is not None:
            self.teacher.follow(self.model, self.position.examples / self.budget)
        return result

    def _backward(self, batches: Sequence[Batch]) -> tuple[Tensor, dict[str, Tensor]]:
        """Adds the gradient of the weighted loss of some tasks; gives that loss, and each task's own.

        With `data.micro_batch_size` in parts, each for its share of the examples.  What is a mean over examples (all losses but
        ranking, which the config refuses) is the same number as at once, but for its rounding; what is drawn (masks of dropout,
        SMART's noise and examples) is drawn for each part.
        """
        size, nothing = self.config.data.micro_batch_size, torch.zeros((), device=self.device)
        total, losses = nothing, {batch.task.name: nothing for batch in batches}
        for parts in zip(*(micro_batches(batch, size) for batch in batches), strict=True):  # the batches are of one size
            share = parts[0].num_examples / batches[0].num_examples
            of_tasks = self.objective(self.model, parts, masks=self.masks, noise=self.noise, teacher=self.teacher)
            loss: Tensor = share * self.loss_weights(of_tasks)
            loss.backward()  # type: ignore[no-untyped-call]
            total = total + loss.detach()
            losses = {task: before + share * of_tasks[task].detach() for task, before in losses.items()}
            self._examples_at_once = max(self._examples_at_once, parts[0].num_examples)
            beat()
        return total, losses

    def _backward_apart(self, batches: Sequence[Batch]) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """As `_backward`, with PCGrad between the tasks, and its diagnostics.

        Each task has a pass of its own: through a joint one, every task's gradient would be taken through all tokens.
        """
        weights = list(self.trained.parameters())
        total = torch.zeros((), device=self.device)
        losses: dict[str, Tensor] = {}
        gradients: dict[str, Gradients] = {}
        for batch in batches:
            loss, of_task = self._backward([batch])
            total, losses = total + loss, losses | of_task
            gradients[batch.task.name] = take_gradients(weights)
        rng = np.random.default_rng(np.random.SeedSequence((self.config.seed, SEEDS["projections"], self.position.step)))
        return total, losses, pcgrad(weights, gradients, rng)

    def _turn(self, phase: PhaseConfig) -> Turn:
        start, end = self._ends_of_phase()
        epoch_examples = phase.batches_per_epoch and phase.batches_per_epoch * self.config.data.batch_size
        return Turn(
            step=self.position.step_in_phase,
            examples=self.position.examples - start,
            num_examples=end - start,
            tasks=phase.tasks,
            num_rows={name: len(rows) for name, rows in self.rows.items()},
            rows_a_round=self._rows_a_round(phase),
            batch_size=self.config.data.batch_size,
            epochs=-(-(end - start) // epoch_examples) if epoch_examples else phase.epochs,
            epoch_examples=epoch_examples,
            seed=(self.config.seed, SEEDS["turns"], self.position.phase),
        )

    def _phase(self) -> PhaseConfig:
        """The phase that the next step belongs to, entered if it is a new one."""
        number = next(number for number, end in enumerate(self._phase_ends()) if self.position.examples < end)
        if number != self.position.phase:
            self.position.phase, self.position.step_in_phase = number, 0
        phase = self.config.phases[number]
        self.model.set_trainable(phase.trainable, phase.frozen_layers)
        return phase

    def _phase_ends(self) -> list[int]:
        """Examples at which each phase ends; the last one ends with the budget."""
        shares = np.cumsum([phase.share for phase in self.config.phases])
        return [*(round(float(share) * self.budget) for share in shares[:-1]), self.budget]

    def _ends_of_phase(self) -> tuple[int, int]:
        """Examples of the whole run at which the phase of the position starts and ends."""
        ends = [0, *self._phase_ends()]
        return ends[self.position.phase], ends[self.position.phase + 1]

    def _rows_a_round(self, phase: PhaseConfig) -> dict[str, int]:
        start, end = self._ends_of_phase()
        num_rows = {name: math.ceil(len(rows) * phase.round_share.get(name, 1.0)) for name, rows in self.rows.items()}
        return rows_a_round(num_rows, phase.tasks, end - start)

    def _begin_round(self, phase: PhaseConfig, turn: Turn) -> None:
        """Where a task begins its share of its rows in a round, the rest of the pass before is skipped: the rows are drawn anew.

        The last batch of a round is as large as all others, so that it may go beyond the share.
        """
        if phase.round_share:
            task = begins_in_round(turn)
            if task is not None and phase.round_share.get(task, 1.0) < 1:
                stream = self.streams[task]
                stream.num_taken += -stream.num_taken % stream.num_rows

    def _next_batch(self, task: str) -> Batch:
        rows = self.rows[task][self.streams[task].take(self.config.data.batch_size)]
        batch = gather(
            self.tables[task],
            rows,
            task=self.config.tasks.by_name[task],
            pair_encoding=self.config.encoder.pair_encoding,
            frozen=self._frozen("train").get(task),
            resident=self.resident.table(task, "train"),
        )
        outputs = self.teacher_outputs.get(task)
        return batch if outputs is None else replace(batch, teacher=torch.from_numpy(outputs[rows]))

    def _frozen(self, split: Split) -> Mapping[str, FrozenTable]:
        """What is known of the layers that have stood still so far, by task."""
        start, end = self._ends_of_phase()
        return self.frozen.tables(self.model, self.position.phase, end - start, split)

    def _measure(
        self, loss: Tensor, losses: dict[str, Tensor], grad_norm: Tensor, diagnostics: dict[str, Tensor], *, lr: float
    ) -> StepResult:
        """The step's numbers, fetched from the device at once.

        Raises:
            Diverged: one is not finite; weights are as they were before the step.
        """
        values = fetch({"loss": loss, "norm": grad_norm}, losses, diagnostics)
        result = StepResult(values[0]["loss"], values[1], values[0]["norm"], lr, values[2])
        names = {f"the loss of {task}": value for task, value in result.task_losses.items()}
        names |= {"the loss": result.loss, f"the gradient's norm ({', '.join(losses)})": result.grad_norm}
        for name, value in names.items():
            if not math.isfinite(value):
                raise Diverged(f"step {self.position.step + 1}: {name} is {value}")
        return result

    def _progress(self, num_examples: int) -> float:
        """Where in its phase a step counts for the learning rate, in [0, 1]: where the middle of its examples lies.

        So neither the first step of a warm-up nor the last of a decay is lost to a rate of 0.
        """
        start, end = self._ends_of_phase()
        return min((self.position.examples + num_examples / 2 - start) / (end - start), 1.0)

    def _factor_at(self, progress: float) -> float:
        config = self.config.optimizer
        return LR_SCHEDULES[config.lr_schedule](progress, config.warmup_fraction)

    def _lr_at(self, phase: PhaseConfig, progress: float) -> float:
        """The encoder's learning rate."""
        return (phase.lr or self.config.optimizer.lr) * self._factor_at(progress)

    def _read_back(self, phase: PhaseConfig, batches: Sequence[Batch], *, is_apart: bool) -> dict[str, Any]:
        """What this step trains with, from the objects that it uses."""
        return {
            "optimizer": applied_optimizer(self.optimizer),
            "schedule": applied_schedule(phase, partial(self._lr_at, phase), is_apart=is_apart),
            "turn": applied_turn(self._turn(phase)),
            "phases": applied_phases(self.config.phases, self._phase_ends(), self._lr_at),
            "batches": applied_batches(batches),
            "examples_at_once": self._examples_at_once,
            "training_rows": {name: len(rows) for name, rows in self.rows.items()},
            "bucket_windows": {name: stream.bucket_window for name, stream in self.streams.items()},
            "model": applied_model(self.model),
            "objective": applied_objective(self.objective, self.config.tasks.tasks),
            "weights": applied_weights(self.loss_weights, self.config.tasks.names),
            "device": str(self.device),
            "precision": asdict(self.precision),
            "layers_from_cache": {task: table.num_layers for task, table in self._frozen("train").items()},
            "num_threads": torch.get_num_threads(),
        }

    def _count(self, batches: Sequence[Batch]) -> None:
        self.position.examples += sum(batch.num_examples for batch in batches)
        self.position.tokens += sum(len(batch.token_ids) for batch in batches)
        self.position.step += 1
        self.position.step_in_phase += 1
        self.position.taken = {task: stream.num_taken for task, stream in self.streams.items()}

    def save(self, folder: Path) -> None:
        """Writes all of the state into a folder, which is made.

        The files of `save_model`, `optimizer.safetensors`, `generators.safetensors` and `state.json`; where there is a teacher,
        `teacher.safetensors`; where the weights of losses are learnt, `balancing.safetensors`.
        """
        self.save_model(folder)
        save_file(optimizer_tensors(self.optimizer, self.trained), folder / "optimizer.safetensors")
        if learnt := self.loss_weights.state_dict():
            save_file(learnt, folder / BALANCING_FILE)
        if self.teacher is not None:
            self.teacher.save(folder / TEACHER_FILE)
        generators = {"dropout": self.masks.get_state(), "noise": self.noise.get_state()}
        save_file(generators, folder / "generators.safetensors")
        state: dict[str, Any] = {"position": asdict(self.position), "history": self.history, "applied": self.applied}
        state["frozen"] = self.frozen.decisions
        state["made_from"], state["first_losses"] = self._made_from(), self.first_losses
        (folder / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    def save_model(self, folder: Path) -> None:
        """Writes the model alone; `trainables.model.files.load_model` reads it."""
        with torch_threads(self.config.num_threads):  # adapters are merged as they were when dev was scored
            save_model(self.model, self.files, folder)

    def load(self, folder: Path) -> None:
        """Puts back what `save` wrote for the same config, data and encoder.

        Raises:
            ValueError: config, a data file or the encoder is another one; names it.
        """
        saved = TrialConfig.parse(read_yaml(folder / "config.yaml"))  # what is new since then has its default
        precision = saved.precision if self.precision.asked == "auto" else self.config.precision
        config = self.config.model_copy(update={"precision": precision})
        state = read_json(folder / "state.json")
        problems = [f"config {line}" for line in differences(_without_places(saved.to_tree()), _without_places(config.to_tree()))]
        problems += [f"{line}" for line in differences(state["made_from"], self._made_from())]
        if problems:
            raise ValueError(f"{folder} was made from something else (there, here):\n" + "\n".join(problems))
        if precision != self.config.precision:
            self._go_on_in(precision)
        self.model.load_weights(folder)
        load_optimizer_tensors(self.optimizer, self.trained, load_file(folder / "optimizer.safetensors"))
        if self.loss_weights.state_dict():
            self.loss_weights.load_state_dict(load_file(folder / BALANCING_FILE))
        if self.teacher is not None:
            self.teacher.load(folder / TEACHER_FILE)
        generators = load_file(folder / "generators.safetensors")
        self.masks.set_state(generators["dropout"].clone())
        self.noise.set_state(generators["noise"].clone())
        self.position = Position(**state["position"])
        # Written before there was a cache: what has begun without goes on without.
        without = {f"{self.position.phase} {split}": False for split in ("train", "dev")}
        self.frozen.decisions = dict(state.get("frozen", without if self.position.step else {}))
        for task, stream in self.streams.items():
            stream.num_taken = self.position.taken.get(task, 0)
        self.history, self.applied = state["history"], state.get("applied")
        self.first_losses = dict(state.get("first_losses", {}))  # where it was not written down yet, those of the next steps

    def _go_on_in(self, precision: Precision) -> None:
        """What was begun in one precision on another machine is finished in it, whatever the probe says here."""
        assert precision != "auto", "a checkpoint's is resolved"
        self.precision = replace(self.precision, chosen=precision)
        self.config = self.config.model_copy(update={"precision": precision})
        for model in (self.model, *([self.teacher.model] if self.teacher is not None else [])):
            model.set_precision(self.config)
        self.frozen = FrozenLayers(self.config, self.files, self.store, self.rows)
        allow_tf32(precision)

    def _made_from(self) -> dict[str, dict[str, str]]:
        """Sums of what the run started from, and what it does that is no setting and was otherwise before."""
        encoder = {"weights": self.files.weights_sha256, "tokenizer": self.files.tokenizer_sha256}
        made_from = {"data": dict(self.store.hashes), "encoder": encoder}
        if self.teachers:  # checkpoints of runs without are what they were before there were teachers
            made_from["teachers"] = {name: teacher.sha256 for name, teacher in self.teachers.items()}
        if self.loss_weights.log_variances:  # older ones of such runs, whose weights trained at the heads' rate, are refused
            made_from[LOSS_WEIGHTS] = {"peak_lr": f"{LOSS_WEIGHTS_LR:g}"}
        if any(share < 1 for phase in self.config.phases for share in phase.round_share.values()):  # likewise, not drawn anew
            made_from["rounds"] = {"shares": "drawn anew"}
        return made_from


def _without_places(tree: dict[str, Any]) -> dict[str, Any]:
    """A config's tree without what may differ between two stretches of one run.

    Teachers are there or not: which models they are `made_from` tells, wherever they lie by now.  How many examples are computed
    at once is a matter of memory.
    """
    teachers = {task: folder is not None for task, folder in tree["objective"]["distill"]["teachers"].items()}
    return assign(tree, {"objective.distill.teachers": teachers, "data.micro_batch_size": None})
