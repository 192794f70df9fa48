import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import RandomSampler, TPESampler

from search_spaces.domains import Categorical, Float
from search_spaces.space import Dimension, Space
from search_spaces.studies.basics import SPACE
from trainables.config import TrialConfig
from tuner.ledger import Ledger
from tuner.samplers import grid_points, make_sampler

SEARCHERS = ("tpe", "random", "grid")


def draw(toy: Any, searcher: str, seed: int, number: int, num_told: int = 0) -> Any:
    """What is drawn for trial `number` after so many trials."""
    ledger = Ledger(toy.new_study())
    for told in range(num_told):
        record = ledger.ask(toy.space, toy.base, RandomSampler(seed=told), {"seed": 0})
        ledger.report(told, toy.report(1, record.assignment["optimizer.lr"]))
        ledger.tell(told, "complete")
    return ledger.ask(toy.space, toy.base, make_sampler(searcher, seed, number), {"seed": 0}).assignment


@pytest.mark.parametrize("searcher", SEARCHERS)
@pytest.mark.parametrize("num_told", [0, 8])
def test_the_same_seed_and_number_draw_the_same_and_others_draw_another(searcher: str, num_told: int, toy: Any) -> None:
    first = draw(toy, searcher, 3, 4, num_told)
    assert draw(toy, searcher, 3, 4, num_told) == first
    assert draw(toy, searcher, 3, 5, num_told) != first
    assert draw(toy, searcher, 4, 4, num_told) != first


def test_each_searcher_has_its_sampler() -> None:
    assert [type(make_sampler(searcher, 0, 0)) for searcher in SEARCHERS] == [TPESampler, RandomSampler, RandomSampler]


def test_tpe_learns(toy: Any) -> None:
    space = Space("lr", (Dimension("optimizer.lr", Float(1e-5, 1e-1, log=True)),))
    ledger = Ledger(toy.new_study())
    for number in range(24):
        lr = ledger.ask(space, toy.base, make_sampler("tpe", 1, number), {"seed": 1}).assignment["optimizer.lr"]
        ledger.report(number, toy.report(1, 1 - abs(lr - 1e-3)))
        ledger.tell(number, "complete")
    distances = [abs(record.assignment["optimizer.lr"] - 1e-3) for record in ledger.records()]
    assert sum(distances[-8:]) < sum(distances[:8]) / 4


@given(st.integers(1, 80), st.integers(0, 2**31 - 1))
def test_grid_points_differ_lie_on_the_grid_and_are_no_more_than_asked_for(toy: Any, limit: int, seed: int) -> None:
    points = [tuple(point.items()) for point in grid_points(toy.space, toy.base, limit, seed)]
    grid = [tuple(point.items()) for point in toy.space.grid(toy.base, 3)]
    assert len(points) == len(set(points)) == min(limit, len(grid))
    assert set(points) <= set(grid)
    assert points == [tuple(point.items()) for point in grid_points(toy.space, toy.base, limit, seed)]


@given(st.integers(1, 10), st.integers(0, 99))
def test_more_points_begin_with_the_fewer_ones(toy: Any, limit: int, seed: int) -> None:
    few, many = (grid_points(toy.space, toy.base, n, seed) for n in (limit, limit + 1))
    assert many[:limit] == few


def test_a_grid_too_large_to_count_is_sampled_all_over() -> None:
    points = grid_points(SPACE, TrialConfig(), 50, seed=0)
    assert len(points) == 50
    assert {point["optimizer.lr"] for point in points} == set(SPACE.dimensions[0].domain.grid(3))
    assert points != grid_points(SPACE, TrialConfig(), 50, seed=1)


def test_a_grid_over_variants_of_a_path_is_tried_as_it_is(toy: Any) -> None:
    rates = {name: Float(low, 10 * low, log=True) for name, low in (("adamw", 1e-5), ("lion", 1e-6))}
    space = Space(
        "variants",
        (
            Dimension("optimizer.name", Categorical(tuple(rates))),
            *(
                Dimension("optimizer.lr", rate, when={"optimizer.name": (name,)}, variant="" if name == "adamw" else name)
                for name, rate in rates.items()
            ),
        ),
    )
    ledger = Ledger(toy.new_study())
    ledger.enqueue(grid_points(space, toy.base, 6, seed=0))
    tried = [ledger.ask(space, toy.base, make_sampler("grid", 0, number), {"seed": 0}).assignment for number in range(6)]
    key = operator.itemgetter("optimizer.name", "optimizer.lr")
    assert sorted(map(key, tried)) == sorted(map(key, space.grid(toy.base, 3)))
