import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.domains import Categorical, Domain, Float, Value
from search_spaces.space import Space
from search_spaces.studies.basics import SPACE
from trainables.config import TrialConfig

BASE = TrialConfig()


def drawer(chance: random.Random) -> object:
    """Draws a value of a domain; an end of a range one time in four."""

    def draw(_path: str, domain: Domain) -> Value:
        if isinstance(domain, Categorical):
            return chance.choice(domain.choices)
        if chance.random() < 0.25:
            return chance.choice((domain.low, domain.high))
        if isinstance(domain, Float):
            low, high = (math.log(domain.low), math.log(domain.high)) if domain.log else (domain.low, domain.high)
            value = chance.uniform(low, high)
            return min(domain.high, max(domain.low, math.exp(value) if domain.log else value))
        return chance.randint(domain.low, domain.high)

    return draw


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_each_point_is_a_config_that_says_what_was_drawn(seed: int) -> None:
    draw = drawer(random.Random(seed))
    for _ in range(100):
        point = SPACE.draw(draw, BASE)
        config = BASE.override(point)
        assert config.optimizer.lr == point["optimizer.lr"]
        assert {head.kind for head in config.heads.values()} == {point["heads.*.kind"]}
        assert {head.hidden_size for head in config.heads.values()} == {point.get("heads.*.hidden_size")}
        assert config.objective.smart.enabled == ("objective.smart.weights.*" in point)
        assert TrialConfig.parse(config.to_tree()) == config


def test_what_has_to_vary_varies() -> None:
    assert {dimension.path for dimension in SPACE.dimensions} >= {
        "optimizer.lr",
        "data.batch_size",
        "objective.smart.enabled",
        "objective.smart.weights.*",
        "optimizer.lr_schedule",
        "optimizer.warmup_fraction",
        "phases.0.task_schedule",
        "heads.*.kind",
        "encoder.pooling",
        "encoder.dropout",
        "heads.*.dropout",
        "optimizer.weight_decay",
    }


def test_what_plays_a_part_only_sometimes_is_conditional() -> None:
    for dimension in SPACE.dimensions:
        expected: dict[str, object] = {}
        if dimension.path.startswith("objective.smart.") and dimension.path != "objective.smart.enabled":
            expected = {"objective.smart.enabled": (True,)}
        if dimension.path == "heads.*.hidden_size":
            expected = {"heads.*.kind": ("mlp",)}
        assert dict(dimension.when) == expected, dimension.path


def test_its_ranges_hold_the_papers_values() -> None:
    papers = {"optimizer.lr": 1e-5, "data.batch_size": 8, "heads.*.hidden_size": 32, "heads.*.dropout": 0.3}
    domains = {dimension.path: dimension.domain for dimension in SPACE.dimensions}
    assert all(domains[path].contains(value) for path, value in papers.items())


@pytest.mark.parametrize("dimension", SPACE.dimensions, ids=lambda dimension: dimension.path)
def test_each_dimension_says_where_its_range_comes_from(dimension: object) -> None:
    assert dimension.source  # type: ignore[attr-defined]


def test_it_is_given_back_by_its_tree() -> None:
    assert Space.parse(SPACE.to_tree()) == SPACE
