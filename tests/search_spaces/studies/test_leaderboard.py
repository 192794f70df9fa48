"""The search of this project: every point is a config, and the papers' best settings are tried first."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.domains import Value
from search_spaces.space import Space
from search_spaces.studies import basics
from search_spaces.studies.leaderboard import SPACE
from tests.search_spaces.studies.test_basics import BASE, drawer
from trainables.config import TrialConfig
from trainables.paths import values_at


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_each_point_is_a_config_that_says_what_was_drawn(seed: int) -> None:
    draw: Any = drawer(random.Random(seed))
    for _ in range(20):
        point = SPACE.draw(draw, BASE)
        tree = BASE.override(point).to_tree()
        for path, value in point.items():
            assert set(values_at(tree, path)) == {value}, path


def test_it_has_all_that_any_tasks_have() -> None:
    paths = {dimension.path for dimension in SPACE.dimensions}
    for path in {dimension.path for dimension in basics.SPACE.dimensions}:
        assert path in paths or all(path.replace("*", task) in paths for task in ("qqp", "sts")), path


def test_lion_s_rate_is_three_to_ten_times_lower() -> None:
    adamw, lion = (d.domain for d in SPACE.dimensions if d.path == "optimizer.lr")
    assert all(3 <= adamw_end / lion_end <= 10 for adamw_end, lion_end in ((adamw.low, lion.low), (adamw.high, lion.high)))


@pytest.mark.parametrize("number", range(len(SPACE.starts)))
def test_a_start_says_all_that_then_plays_a_part(number: int) -> None:
    start = SPACE.first_points(BASE)[number]

    def given_value(name: str, _domain: object) -> Value:
        return start[name]  # a KeyError names what would be left to chance

    point = SPACE.draw(given_value, BASE)
    assert len(point) == len(start), "nothing of it is left over"
    assert point == {path: value for path, value in SPACE.starts[number].items() if path in point}


def test_the_papers_settings_come_after_one_for_short_searches() -> None:
    configs = [BASE.override({name.partition("@")[0]: v for name, v in start.items()}) for start in SPACE.first_points(BASE)]
    short, three_headed, best_fit, studentbert = configs
    assert (best_fit.optimizer.lr, best_fit.phases[0].task_schedule, best_fit.phases[0].epochs) == (2e-5, "annealed", 6)
    assert studentbert.phases[0].task_schedule == "whole_dataset_round_robin"
    assert studentbert.objective.smart.weights == {"sst": 3.0, "qqp": 3.0, "sts": 3.0}
    assert (three_headed.encoder.pair_encoding, three_headed.heads["sts"].kind) == ("bi", "cosine")
    assert short.optimizer.lr > max(config.optimizer.lr for config in (three_headed, best_fit, studentbert))


def test_a_start_keeps_to_what_is_not_set_by_hand() -> None:
    base = BASE.override({"encoder.pair_encoding": "bi"})
    starts = SPACE.without(["encoder.pair_encoding"]).first_points(base)
    assert all("encoder.pair_encoding" not in start for start in starts)
    assert "objective.contrastive.weights.qqp" in starts[2], "it plays a part now"


@pytest.mark.parametrize("dimension", SPACE.dimensions, ids=lambda dimension: dimension.name)
def test_each_dimension_says_where_its_range_comes_from(dimension: Any) -> None:
    assert dimension.source


def test_it_is_given_back_by_its_tree() -> None:
    assert Space.parse(SPACE.to_tree()) == SPACE


def test_it_fits_the_default_config() -> None:
    assert SPACE.problems(TrialConfig()) == []
