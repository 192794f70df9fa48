"""Which trials are timed, and what lies between them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import TrialConfig
from tuner.plan_corners import MOST_DRAWN, CostModel, draw_trials, guessed_cost, rising, to_be_timed
from tuner.prepare import prepare
from tuner.search_plan import SearchPlan

BASE = TrialConfig()
SUM = {"phases.0.task_schedule": "sum_of_losses"}


@pytest.mark.parametrize(
    ("cheaper", "dearer"),
    [
        ({}, {"objective.smart.enabled": True}),
        ({"objective.smart.enabled": True, "objective.smart.batch_share": 0.5}, {"objective.smart.enabled": True}),
        ({"phases.0.frozen_layers": 3}, {"phases.0.frozen_layers": 1}),
        ({"phases.0.trainable": "heads"}, {"phases.0.frozen_layers": 5}),
        ({"encoder.lora.rank": 8}, {}),
        ({"data.batch_size": 32}, {"data.batch_size": 8}),
        (SUM, {}),
        ({}, {"objective.bregman.mu": 1.0}),
        ({}, {"encoder.copies": "singles_and_pairs"}),
    ],
)
def test_what_costs_more_is_guessed_to_cost_more(cheaper: dict[str, Any], dearer: dict[str, Any]) -> None:
    assert guessed_cost(BASE.override(cheaper), 6) < guessed_cost(BASE.override(dearer), 6)


def test_the_guess_of_smart_is_what_was_measured() -> None:
    plain, smart = (BASE.override({"data.batch_size": 4096, "objective.smart.enabled": on}) for on in (False, True))
    assert guessed_cost(smart, 6) / guessed_cost(plain, 6) == pytest.approx(8 / 3, rel=0.01)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_values_that_never_fall_are_the_nearest_and_keep_their_mean(values: list[float]) -> None:
    out = rising(np.array(values))
    assert (np.diff(out) >= -1e-9).all()
    assert out.mean() == pytest.approx(np.mean(values))
    assert list(rising(out)) == pytest.approx(list(out))


@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.01, 9)), min_size=1, max_size=8, unique_by=lambda pair: pair[0]))
def test_dearer_guesses_never_cost_less(points: list[tuple[float, float]]) -> None:
    model = CostModel([guess for guess, _ in points], [seconds for _, seconds in points])
    costs = [model.seconds_per_example(guess) for guess in np.linspace(0.05, 10, 80)]
    assert (np.diff(costs) >= -1e-9).all() and min(costs) > 0


def test_between_timed_trials_on_the_line_beyond_them_in_proportion() -> None:
    model = CostModel([2.0, 1.0], [0.3, 0.1])
    assert [model.seconds_per_example(guess) for guess in (0.5, 1.0, 1.5, 2.0, 4.0)] == pytest.approx([0.05, 0.1, 0.2, 0.3, 0.6])


@pytest.fixture(scope="module")
def leaderboard() -> SearchPlan:
    return prepare({"trials": 12}, set_texts=["encoder.name=tiny"])


def test_the_corners_are_no_dearer_and_no_cheaper_than_any_draw(leaderboard: SearchPlan) -> None:
    drawn = draw_trials(leaderboard)
    costs = [guessed_cost(config, leaderboard.num_layers) for config in drawn.configs]
    cheapest, dearest = (guessed_cost(config, leaderboard.num_layers) for config in (drawn.cheapest, drawn.dearest))
    assert len(costs) == MOST_DRAWN and cheapest <= min(costs) and dearest >= max(costs)
    assert drawn.dearest.objective.smart.enabled and drawn.dearest.data.batch_size == 8
    assert not drawn.cheapest.objective.smart.enabled and drawn.cheapest.data.batch_size == 32
    starts = len(leaderboard.space.first_points(leaderboard.base))
    assert drawn.num_known == starts == 4
    assert [config.encoder.pair_encoding for config in drawn.configs[:4]] == ["cross", "bi", "cross", "cross"]
    assert draw_trials(leaderboard, 3).num_known == 1


def test_what_is_timed_begins_with_the_most_telling_and_repeats_nothing(leaderboard: SearchPlan) -> None:
    drawn = draw_trials(leaderboard)
    wanted = to_be_timed(drawn, leaderboard.num_layers, 7)
    assert list(wanted)[:5] == ["middle", "dearest", "cheapest", "20%", "80%"] and len(wanted) == 7
    alike = replace(drawn, configs=drawn.configs[:1] * 9, cheapest=drawn.configs[0], dearest=drawn.configs[0])
    assert list(to_be_timed(alike, leaderboard.num_layers, 7)) == ["middle"]


def test_a_random_search_and_a_grid_are_known_before_they_begin() -> None:
    grid = prepare({"trials": 5, "searcher": "grid", "space": "basics"}, set_texts=["encoder.name=tiny"])
    assert draw_trials(grid).num_known == 5 == len(draw_trials(grid).configs)
    drawn = draw_trials(prepare({"trials": 5, "searcher": "random", "space": "basics"}, set_texts=["encoder.name=tiny"]))
    assert drawn.num_known == MOST_DRAWN


def test_rows_of_a_study_are_its_trials_teachers_left_out() -> None:
    plan = prepare({"study": "studentbert.model_merging", "rows": ["siar_rr_mm"], "seeds": 1}, set_texts=["encoder.name=tiny"])
    drawn = draw_trials(plan)
    assert len(drawn.configs) == drawn.num_known == plan.settings.trials == 4
    assert all(teacher is None for config in drawn.configs for teacher in config.objective.distill.teachers.values())
