import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from search_spaces.covering import Suggest, covering_points
from search_spaces.domains import Categorical

TABLES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 4).map(lambda n: tuple(range(n))), min_size=1)


def draw_all(values: Any) -> Any:
    return lambda suggest: {name: suggest(name, Categorical((0,))) for name in values}


@given(TABLES)
def test_every_pair_of_values_stands_together(values: dict[str, tuple[int, ...]]) -> None:
    points = list(covering_points(values, {name: {} for name in values}, draw_all(values)))
    for one, other in itertools.combinations(values, 2):
        assert {(point[one], point[other]) for point in points} == set(itertools.product(values[one], values[other]))
    assert all(point.keys() == values.keys() for point in points)


def test_points_are_few() -> None:
    values = {f"d{i}": (0, 1, 2) for i in range(36)}
    points = list(covering_points(values, {name: {} for name in values}, draw_all(values)))
    assert len(points) < 100, "there are 5,670 pairs"


def test_what_plays_a_part_under_a_condition_is_met_there() -> None:
    values = {"kind": ("linear", "mlp"), "width": (16, 256), "rate": (1, 2)}

    def draw(suggest: Suggest) -> dict[str, Any]:
        point = {"kind": suggest("kind", Categorical(("linear", "mlp"))), "rate": suggest("rate", Categorical((1, 2)))}
        return point | ({"width": suggest("width", Categorical((16, 256)))} if point["kind"] == "mlp" else {})

    points = list(covering_points(values, {"kind": {}, "rate": {}, "width": {"kind": "mlp"}}, draw))
    assert {(p["width"], p["rate"]) for p in points if "width" in p} == set(itertools.product((16, 256), (1, 2)))
    assert all(p["kind"] == "mlp" for p in points if "width" in p)


def test_true_is_not_one() -> None:
    values = {"a": (True, 1), "b": (0,)}
    assert len(list(covering_points(values, {"a": {}, "b": {}}, draw_all(values)))) == 2
