from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.balancing.task_schedules import TASK_SCHEDULES, rows_a_round
from trainables.config import PhaseConfig
from trainables.tasks import CS224N

ROWS = {"sst": 7, "qqp": 20, "sts": 5}
some_tasks = st.lists(st.sampled_from(list(CS224N.by_name)), min_size=1, max_size=3, unique=True)


def test_every_name_of_the_config_has_one() -> None:
    assert set(PhaseConfig.model_fields["task_schedule"].annotation.__args__) == set(TASK_SCHEDULES)


@pytest.mark.parametrize("name", TASK_SCHEDULES)
@given(st.integers(0, 10**6), some_tasks, st.integers(1, 9))
def test_every_schedule_names_tasks_of_the_phase_once(name: str, step: int, tasks: list[str], batch_size: int) -> None:
    turn = TASK_SCHEDULES[name](step, tasks, ROWS, batch_size)
    assert turn
    assert len(set(turn)) == len(turn)
    assert set(turn) <= set(tasks)


@pytest.mark.parametrize("name", TASK_SCHEDULES)
@given(some_tasks, st.integers(1, 9))
def test_every_task_gets_a_turn(name: str, tasks: list[str], batch_size: int) -> None:
    assert {task for step in range(60) for task in TASK_SCHEDULES[name](step, tasks, ROWS, batch_size)} == set(tasks)


def test_round_robin_takes_turns_in_order() -> None:
    turns = [TASK_SCHEDULES["round_robin"](step, ["qqp", "sst"], ROWS, 4) for step in range(3)]
    assert turns == [("qqp",), ("sst",), ("qqp",)]


def test_whole_dataset_sees_all_rows_of_one_task_then_of_the_next() -> None:
    schedule = TASK_SCHEDULES["whole_dataset_round_robin"]
    turns = [schedule(step, list(CS224N.by_name), ROWS, 4)[0] for step in range(9 * 2)]
    assert turns[:9] == ["sst"] * 2 + ["qqp"] * 5 + ["sts"] * 2
    assert turns[9:] == turns[:9]
    assert Counter(turns) == {"sst": 4, "qqp": 10, "sts": 4}


@given(st.integers(1, 500), st.integers(1, 20))
def test_a_phase_shorter_than_a_round_still_reaches_each_task_in_its_share(num_examples: int, batch_size: int) -> None:
    num_rows = {"sst": 100, "qqp": 300, "sts": 100}
    rows = rows_a_round(num_rows, tuple(num_rows), num_examples)
    share = min(1.0, num_examples / 500)
    assert all(num_rows[task] * share <= rows[task] < num_rows[task] * share + 1 for task in num_rows)
    if num_examples >= 500:
        assert rows == num_rows
    num_steps = sum(-(-rows[task] // batch_size) for task in num_rows)
    seen = {TASK_SCHEDULES["whole_dataset_round_robin"](step, tuple(num_rows), rows, batch_size)[0] for step in range(num_steps)}
    assert seen == set(num_rows)
