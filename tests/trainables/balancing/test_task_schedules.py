import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.balancing.task_schedules import TASK_SCHEDULES, Turn, begins_in_round, rows_a_round
from trainables.config_parts import PhaseConfig
from trainables.tasks import CS224N

ROWS = {"sst": 7, "qqp": 20, "sts": 5}
TURN = Turn(
    step=0,
    examples=0,
    num_examples=1000,
    tasks=tuple(ROWS),
    num_rows=ROWS,
    rows_a_round=ROWS,
    batch_size=4,
    epochs=5,
    epoch_examples=None,
    seed=(7, 5, 0),
)
some_tasks = st.lists(st.sampled_from(list(CS224N.by_name)), min_size=1, max_size=3, unique=True)
turns = st.builds(
    replace,
    st.just(TURN),
    step=st.integers(0, 10**6),
    examples=st.integers(0, 999),
    tasks=some_tasks,
    batch_size=st.integers(1, 9),
    epochs=st.integers(1, 9),
)


def draw(name: str, num_steps: int, **fields: object) -> list[str]:
    """The first task of each step."""
    return [TASK_SCHEDULES[name](replace(TURN, step=step, **fields))[0] for step in range(num_steps)]


def test_every_name_of_the_config_has_one() -> None:
    assert set(PhaseConfig.model_fields["task_schedule"].annotation.__args__) == set(TASK_SCHEDULES)


@pytest.mark.parametrize("name", TASK_SCHEDULES)
@given(turns)
def test_every_schedule_names_tasks_of_the_phase_once_and_again_the_same(name: str, turn: Turn) -> None:
    tasks = TASK_SCHEDULES[name](turn)
    assert tasks
    assert len(set(tasks)) == len(tasks)
    assert set(tasks) <= set(turn.tasks)
    assert TASK_SCHEDULES[name](turn) == tasks


@pytest.mark.parametrize("name", TASK_SCHEDULES)
@given(some_tasks, st.integers(1, 9))
def test_every_task_gets_a_turn(name: str, tasks: list[str], batch_size: int) -> None:
    steps = [replace(TURN, step=step, tasks=tasks, batch_size=batch_size) for step in range(60)]
    assert {task for turn in steps for task in TASK_SCHEDULES[name](turn)} == set(tasks)


def test_round_robin_takes_turns_in_order() -> None:
    assert draw("round_robin", 3, tasks=["qqp", "sst"]) == ["qqp", "sst", "qqp"]


def test_whole_dataset_sees_all_rows_of_one_task_then_of_the_next() -> None:
    names = draw("whole_dataset_round_robin", 9 * 2)
    assert names[:9] == ["sst"] * 2 + ["qqp"] * 5 + ["sts"] * 2
    assert names[9:] == names[:9]
    assert Counter(names) == {"sst": 4, "qqp": 10, "sts": 4}


@given(some_tasks, st.integers(1, 9))
def test_a_round_begins_once_for_each_task_where_its_turn_does(tasks: list[str], batch_size: int) -> None:
    num_steps = sum(-(-ROWS[task] // batch_size) for task in tasks)
    turns = [replace(TURN, step=step, tasks=tasks, batch_size=batch_size) for step in range(2 * num_steps)]
    begins = [begins_in_round(turn) for turn in turns]
    assert [task for task in begins if task] == tasks * 2
    names = [TASK_SCHEDULES["whole_dataset_round_robin"](turn)[0] for turn in turns]
    assert all(begin in (None, name) for begin, name in zip(begins, names, strict=True))
    assert begins[0] == begins[num_steps] == tasks[0]


@given(st.integers(1, 500), st.integers(1, 20))
def test_a_phase_shorter_than_a_round_still_reaches_each_task_in_its_share(num_examples: int, batch_size: int) -> None:
    num_rows = {"sst": 100, "qqp": 300, "sts": 100}
    rows = rows_a_round(num_rows, tuple(num_rows), num_examples)
    assert all(0 <= rows[task] * 500 - num_rows[task] * num_examples < 500 for task in num_rows)
    if num_examples >= 500:
        assert rows == num_rows
    num_steps = sum(-(-rows[task] // batch_size) for task in num_rows)
    seen = draw("whole_dataset_round_robin", num_steps, rows_a_round=rows, batch_size=batch_size)
    assert set(seen) == set(num_rows)


def fits(names: list[str], weights: dict[str, float]) -> bool:
    """True where a chi-squared test does not refute at 1 in 1000 that three tasks were drawn in proportion to weights."""
    expected = {task: weight / sum(weights.values()) * len(names) for task, weight in weights.items()}
    distance = sum((names.count(task) - number) ** 2 / number for task, number in expected.items())
    assert len(weights) == 3
    return math.exp(-distance / 2) > 1e-3  # the upper tail at two degrees of freedom


@pytest.mark.parametrize(
    ("name", "examples", "epochs", "alpha"),
    [
        ("random", 0, 5, 0.0),
        ("annealed", 0, 5, 1.0),
        ("annealed", 199, 5, 1.0),
        ("annealed", 200, 5, 0.8),
        ("annealed", 999, 5, 0.2),
        ("annealed", 999, 1, 1.0),
        ("annealed", 999, 2, 0.2),
    ],
)
def test_tasks_are_drawn_in_proportion_to_a_power_of_their_rows(name: str, examples: int, epochs: int, alpha: float) -> None:
    names = draw(name, 10_000, examples=examples, epochs=epochs)
    assert fits(names, {task: rows**alpha for task, rows in ROWS.items()})
    assert not fits(names, {task: rows**0.5 for task, rows in ROWS.items()})


@pytest.mark.parametrize("name", ["random", "annealed"])
def test_draws_depend_on_step_and_seed_alone(name: str) -> None:
    names = draw(name, 50)
    assert draw(name, 50, batch_size=9, rows_a_round={}) == names
    assert draw(name, 50, seed=(8, 5, 0)) != names
    assert draw(name, 50, seed=(7, 5, 1)) != names


@given(st.integers(1, 9), st.integers(9, 500))
def test_epochs_are_of_equally_many_examples(epochs: int, num_examples: int) -> None:
    seen = Counter(replace(TURN, examples=n, num_examples=num_examples, epochs=epochs).epoch for n in range(num_examples))
    assert set(seen) == set(range(1, epochs + 1))
    assert max(seen.values()) - min(seen.values()) <= 1


@given(st.integers(1, 400), st.integers(1, 50), st.data())
def test_epochs_of_so_many_examples_end_where_they_should(num_examples: int, epoch_examples: int, data: st.DataObject) -> None:
    examples = data.draw(st.integers(0, num_examples - 1))
    epochs = math.ceil(num_examples / epoch_examples)
    turn = replace(TURN, examples=examples, num_examples=num_examples, epochs=epochs, epoch_examples=epoch_examples)
    assert turn.epoch == 1 + examples // epoch_examples
    assert 1 <= turn.epoch <= epochs
