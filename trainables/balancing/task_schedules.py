"""Whose turn it is: pure functions of the step's number within its phase, so that nothing of them need be saved."""

import math
from collections.abc import Callable, Mapping, Sequence

TaskSchedule = Callable[[int, Sequence[str], Mapping[str, int], int], tuple[str, ...]]


def sum_of_losses(step: int, tasks: Sequence[str], num_rows: Mapping[str, int], batch_size: int) -> tuple[str, ...]:  # noqa: ARG001
    """All tasks in every step; a step then counts a batch of examples for each."""
    return tuple(tasks)


def round_robin(step: int, tasks: Sequence[str], num_rows: Mapping[str, int], batch_size: int) -> tuple[str, ...]:  # noqa: ARG001
    """One task a step, in turn (`studentbert`, section 4.1)."""
    return (tasks[step % len(tasks)],)


def whole_dataset_round_robin(step: int, tasks: Sequence[str], num_rows: Mapping[str, int], batch_size: int) -> tuple[str, ...]:
    """`ceil(rows / batch_size)` steps of the first task, then of the next, and over again (`studentbert`, section 4.3)."""
    steps = {task: -(-num_rows[task] // batch_size) for task in tasks}
    place = step % sum(steps.values())
    for task in tasks:
        if place < steps[task]:
            return (task,)
        place -= steps[task]
    raise AssertionError("the place lies within one round")


def rows_a_round(num_rows: Mapping[str, int], tasks: Sequence[str], num_examples: int) -> dict[str, int]:
    """Rows of each task in one round over whole data sets, cut alike where the phase sees fewer examples than there are rows.

    A departure from `studentbert`, which trains for many rounds: a phase shorter than one would never reach the last task.
    """
    share = min(1.0, num_examples / sum(num_rows[task] for task in tasks))
    return {task: math.ceil(num_rows[task] * share) for task in tasks}


TASK_SCHEDULES: Mapping[str, TaskSchedule] = {
    "sum_of_losses": sum_of_losses,
    "round_robin": round_robin,
    "whole_dataset_round_robin": whole_dataset_round_robin,
}
"""Task schedules by the name of `phases.*.task_schedule`: `(step, tasks, num_rows, batch_size) -> tasks of the step`."""
