from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.importance import importances, too_rare
from reports.parameters import (
    NOT_USED,
    Cell,
    Point,
    axes,
    domains,
    evidence,
    interaction,
    slices,
)
from search_spaces.domains import Categorical, Float, Int
from search_spaces.space import Dimension, Space
from tests import synthetic
from tuner.records import TrialRecord

LR, KIND = "optimizer.lr", "heads.sst.kind"
SPACE = Space("s", (Dimension(LR, Float(1e-5, 1e-3, log=True)), Dimension(KIND, Categorical(("mlp", "linear")))))


def trial(number: int, num_reports: int, state: Any = "complete", **assignment: Any) -> TrialRecord:
    reports = tuple({"report": i, "budget": i, "score": number + i / 10} for i in range(1, num_reports + 1))
    return TrialRecord(number, state, assignment or {LR: 1e-4}, {}, reports)


def point(score: float, number: int = 0, **assignment: Any) -> Point:
    return Point(number, score, "complete", assignment)


def test_trials_are_compared_at_the_last_report_that_enough_have() -> None:
    records = [trial(n, 9) for n in range(3)] + [trial(n, 3, "stopped") for n in range(3, 11)] + [trial(11, 1, "stopped")]
    found = evidence([*records, synthetic.confirming(12, 0, 0.9)])
    assert found.report == 3
    assert [(p.trial, p.score) for p in found.points[:2]] == [(0, 0.3), (1, 1.3)]
    assert len(found.points) == 11


def test_few_trials_are_compared_where_most_of_them_are_and_three_tell_nothing() -> None:
    assert evidence([trial(n, n + 1) for n in range(5)]).report == 1
    assert evidence([trial(n, 9) for n in range(3)]).report is None
    assert evidence([]).points == ()


def test_what_was_searched_spans_all_ranges_of_a_path_and_all_values() -> None:
    space = Space(
        "s",
        (
            Dimension("o", Categorical(("adamw", "lion"))),
            Dimension(LR, Float(1e-5, 1e-3, log=True), {"o": ("adamw",)}, variant="adamw"),
            Dimension(LR, Float(1e-6, 1e-4, log=True), {"o": ("lion",)}, variant="lion"),
            Dimension("n", Int(2, 8)),
        ),
    )
    points = [point(0.1, **{LR: 5e-3, "o": "lion", "n": 3, "free": 2, "word": True})]
    found = domains([LR, "o", "n", "free", "word"], space, points)
    assert found[LR] == Float(1e-6, 5e-3, log=True)
    assert found["o"] == Categorical(("adamw", "lion"))
    assert found["n"] == Int(2, 8)
    assert found["free"] == Int(2, 2)
    assert found["word"] == Categorical((True,))


def test_axes_put_what_plays_no_part_below() -> None:
    points = [point(0.1, **{LR: 1e-5}), point(0.2, **{LR: 1e-3, KIND: "linear"})]
    first, second = axes(points, [LR, KIND], domains([LR, KIND], SPACE, points))
    assert first.places == (0.0, pytest.approx(1.0))
    assert first.ticks == ((0.0, "1e-05"), (1.0, "0.001"))
    assert second.places == (NOT_USED, 1.0)
    assert [name for _, name in second.ticks] == ["mlp", "linear"]


def test_slices_hold_the_trials_in_which_the_parameter_plays_a_part() -> None:
    points = [point(0.1, 3, **{LR: 1e-5}), point(0.2, 4, **{LR: 1e-3, KIND: "linear"})]
    found = slices(points, [KIND], domains([KIND], SPACE, points))
    assert found[0].points == ((4, "linear", 0.2, "complete"),)
    assert found[0].domain == Categorical(("mlp", "linear"))


def grid_of(score: Any) -> Any:
    both = Categorical(("a", "b"))
    points = [point(score(x, y), **{"x": x, "y": y}) for x in "ab" for y in "ab" for _ in range(2)]
    return interaction(points, "x", "y", {"x": both, "y": both})


def test_a_sum_of_two_effects_is_no_interaction_and_an_exclusive_or_is_nothing_else() -> None:
    plain = grid_of(lambda x, y: 0.1 * (x == "b") + 0.3 * (y == "b"))
    assert plain.strength == pytest.approx(0, abs=1e-12)
    assert [[cell.mean for cell in row] for row in plain.cells] == [[0, 0.3], [0.1, 0.4]]
    assert {cell.count for row in plain.cells for cell in row} == {2}
    assert grid_of(lambda x, y: float(x == y)).strength == pytest.approx(1)


def test_a_grid_of_ranges_has_four_parts_a_side_and_empty_fields() -> None:
    points = [point(0.5, **{LR: 1e-5, KIND: "mlp"}), point(0.7, **{LR: 1e-3, KIND: "linear"}), point(0.9, **{LR: 1e-4})]
    found = interaction(points, LR, KIND, domains([LR, KIND], SPACE, points))
    assert len(found.first_bins) == 4
    assert found.cells[0][0].mean == 0.5
    assert found.cells[3][1].mean == 0.7
    assert sum(cell.count for row in found.cells for cell in row) == 2
    assert found.strength is None


@given(st.floats(1e-5, 1e-3))
def test_every_value_of_a_range_has_a_field(value: float) -> None:
    points = [point(0.5, **{LR: value, KIND: "mlp"})]
    found = interaction(points, LR, KIND, domains([LR, KIND], SPACE, points))
    assert sum(cell.count for row in found.cells for cell in row) == 1


def test_two_that_exclude_each_other_have_an_empty_grid() -> None:
    found = interaction([point(0.5, x=1), point(0.6, y=2)], "x", "y", {"x": Int(1, 2), "y": Int(1, 2)})
    assert {cell for row in found.cells for cell in row} == {Cell(None, 0)}
    assert found.strength is None


def test_what_the_score_hangs_on_is_important_and_what_it_does_not_is_less() -> None:
    points = [
        point(n % 20 / 20, n, **{LR: 10 ** (-5 + 2 * (n % 20) / 19), KIND: ("mlp", "linear")[n // 20 % 2]}) for n in range(80)
    ]
    found = dict(importances(points, domains([LR, KIND], SPACE, points)))
    assert list(found) == [LR, KIND]
    assert found[LR] > 5 * found[KIND]
    assert sum(found.values()) == pytest.approx(1)


def test_few_trials_or_equal_scores_tell_nothing() -> None:
    searched = domains([LR], SPACE, [])
    assert importances([point(n, n, **{LR: 1e-4}) for n in range(9)], searched) == ()
    assert importances([point(0.5, n, **{LR: 1e-4}) for n in range(20)], searched) == ()


@pytest.mark.parametrize(("num_with", "is_told"), [(4, False), (5, True)])
def test_what_few_trials_had_tells_nothing(num_with: int, is_told: bool) -> None:
    """However well they did."""
    points = [
        point((n < num_with) + n / 100, n, **{LR: 1e-5 * (1 + n), **({KIND: ("mlp", "linear")[n % 2]} if n < num_with else {})})
        for n in range(20)
    ]
    found = importances(points, domains([LR, KIND], SPACE, points))
    assert {path for path, _ in found} == ({LR, KIND} if is_told else {LR})
    assert importances(points, domains([KIND], SPACE, points)) == () or is_told


@pytest.mark.parametrize(("num_best", "is_told"), [(2, False), (3, True)])
def test_what_few_of_the_best_had_tells_nothing(num_best: int, is_told: bool) -> None:
    """Though ten others had it."""
    with_it = {*range(10), *range(20 - num_best, 20)}
    points = [
        point(n / 100, n, **{LR: 1e-5 * (1 + n), **({KIND: ("mlp", "linear")[n % 2]} if n in with_it else {})}) for n in range(20)
    ]
    searched = domains([LR, KIND], SPACE, points)
    assert {path for path, _ in importances(points, searched)} == ({LR, KIND} if is_told else {LR})
    assert too_rare(points, searched) == (() if is_told else (KIND,))
