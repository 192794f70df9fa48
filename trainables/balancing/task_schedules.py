"""Whose turn it is: pure functions of the step's place in its phase, so that nothing of them need be saved.

What is drawn at random is drawn from a generator made of a seed and the step's number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Turn:
    """A step's place in its phase.

    Attributes:
        step: steps of the phase before this one.
        examples: training examples of the phase before this step, below `num_examples`.
        num_examples: training examples of the whole phase.
        tasks: that train in the phase.
        num_rows: training rows of each task.
        rows_a_round: of each task that `whole_dataset_round_robin` takes for its data set (see `rows_a_round`).
        batch_size: examples of one task in a step.
        epochs: into which the phase is cut.
        epoch_examples: training examples of an epoch, the last one's perhaps fewer; None: equally many in each.
        seed: of the phase; `step` is added to it.
    """

    step: int
    examples: int
    num_examples: int
    tasks: Sequence[str]
    num_rows: Mapping[str, int]
    rows_a_round: Mapping[str, int]
    batch_size: int
    epochs: int
    epoch_examples: int | None
    seed: tuple[int, ...]

    @property
    def epoch(self) -> int:
        """Number of the epoch that the step begins in, from 1 to `epochs`."""
        ended = self.examples // self.epoch_examples if self.epoch_examples else self.examples * self.epochs // self.num_examples
        return 1 + min(ended, self.epochs - 1)

    def draw(self, weights: Sequence[float]) -> str:
        """The step's task, drawn in proportion to weights `[num_tasks]`, each > 0."""
        ends = np.cumsum(weights)
        place = np.random.default_rng(np.random.SeedSequence((*self.seed, self.step))).random() * ends[-1]
        return self.tasks[int(np.searchsorted(ends[:-1], place, side="right"))]


TaskSchedule = Callable[[Turn], tuple[str, ...]]


def sum_of_losses(turn: Turn) -> tuple[str, ...]:
    """All tasks in every step; a step then counts a batch of examples for each."""
    return tuple(turn.tasks)


def round_robin(turn: Turn) -> tuple[str, ...]:
    """One task a step, in turn (`studentbert`, section 4.1)."""
    return (turn.tasks[turn.step % len(turn.tasks)],)


def random(turn: Turn) -> tuple[str, ...]:
    """One task a step, each as likely as the other (`best_fit`, section 4.4)."""
    return (turn.draw([1.0] * len(turn.tasks)),)


def annealed(turn: Turn) -> tuple[str, ...]:
    """One task a step, drawn in proportion to `rows^alpha`, `alpha = 1 - 0.8 (e - 1) / (E - 1)` in epoch e of E; 1 for E = 1.

    Large tasks first, and all nearly alike at the end.  An epoch is a share of the phase's examples.

    Source: Stickland & Murray 2019 (https://arxiv.org/abs/1902.02671); `best_fit`, section 4.4.
    """
    alpha = 1 - 0.8 * (turn.epoch - 1) / max(turn.epochs - 1, 1)
    return (turn.draw([turn.num_rows[task] ** alpha for task in turn.tasks]),)


def whole_dataset_round_robin(turn: Turn) -> tuple[str, ...]:
    """`ceil(rows / batch_size)` steps of the first task, then of the next, and over again (`studentbert`, section 4.3)."""
    return (_place_in_round(turn)[0],)


def begins_in_round(turn: Turn) -> str | None:
    """The task whose first step in a round of `whole_dataset_round_robin` this is; None for a later one."""
    task, place = _place_in_round(turn)
    return None if place else task


def _place_in_round(turn: Turn) -> tuple[str, int]:
    """The step's task in `whole_dataset_round_robin`, and how many steps of it come before this one in the round."""
    steps = {task: -(-turn.rows_a_round[task] // turn.batch_size) for task in turn.tasks}
    place = turn.step % sum(steps.values())
    for task in turn.tasks:
        if place < steps[task]:
            return task, place
        place -= steps[task]
    raise AssertionError("the place lies within one round")


def rows_a_round(num_rows: Mapping[str, int], tasks: Sequence[str], num_examples: int) -> dict[str, int]:
    """Rows of each task in one round over whole data sets, cut alike where the phase sees fewer examples than there are rows.

    A departure from `studentbert`, which trains for many rounds: a phase shorter than one would never reach the last task.
    """
    all_rows = sum(num_rows[task] for task in tasks)
    return {task: -(-num_rows[task] * min(num_examples, all_rows) // all_rows) for task in tasks}


TASK_SCHEDULES: Mapping[str, TaskSchedule] = {
    "sum_of_losses": sum_of_losses,
    "round_robin": round_robin,
    "random": random,
    "annealed": annealed,
    "whole_dataset_round_robin": whole_dataset_round_robin,
}
"""Task schedules by the name of `phases.*.task_schedule`: a step's place to its tasks."""
