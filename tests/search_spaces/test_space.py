import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.domains import Categorical, Domain, Float, Int, Value
from search_spaces.space import Assignment, Dimension, Space, widened
from trainables.config import TrialConfig
from trainables.parts import ConfigError
from trainables.paths import write_yaml

BASE = TrialConfig()
LR = Dimension("optimizer.lr", Float(1e-5, 1e-3, log=True), source="a paper")
KIND = Dimension("heads.*.kind", Categorical(("linear", "mlp")))
WIDTH = Dimension("heads.*.hidden_size", Int(16, 256, log=True), when={"heads.*.kind": ("mlp",)})
SMART = Dimension("objective.smart.enabled", Categorical((False, True)))
LAMBDA = Dimension("objective.smart.weights.*", Float(0.5, 10.0), when={"objective.smart.enabled": (True,)})
SPACE = Space("toy", (LR, KIND, WIDTH, SMART, LAMBDA), "A toy")

VALUE = st.booleans() | st.integers(-99, 99) | st.floats(-99, 99) | st.text(max_size=5)
CHOICES = st.lists(VALUE, min_size=1, max_size=4, unique_by=lambda v: (type(v), v))
DOMAIN: st.SearchStrategy[Domain] = (
    st.tuples(st.floats(0.01, 1), st.floats(1, 9), st.booleans()).map(lambda n: Float(n[0], n[1], log=n[2]))
    | st.tuples(st.integers(1, 5), st.integers(5, 99), st.booleans()).map(lambda n: Int(n[0], n[1], log=n[2]))
    | CHOICES.map(lambda choices: Categorical(tuple(choices)))
)
NAMES = st.lists(st.sampled_from(["a", "b.c", "d.*.e", "f.0.g", "h"]), min_size=1, unique=True)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    names = draw(NAMES)
    dimensions = []
    for position, name in enumerate(names):
        earlier = draw(st.lists(st.sampled_from(names[:position]), unique=True, max_size=2)) if position else []
        when = {path: tuple(draw(CHOICES)) for path in earlier}
        dimensions.append(Dimension(name, draw(DOMAIN), when, draw(st.text(max_size=5))))
    return Space(draw(st.text(min_size=1, max_size=5)), tuple(dimensions), draw(st.text(max_size=5)))


def typed(value: Any) -> Any:
    """Values together with their types: 1, 1.0 and True are three values."""
    if isinstance(value, dict):
        return [(key, typed(item)) for key, item in value.items()]
    return [typed(item) for item in value] if isinstance(value, list | tuple) else (type(value), value)


@given(spaces())
def test_a_space_is_given_back_by_its_tree_by_yaml_and_by_json(space: Space) -> None:
    tree = space.to_tree()
    for text in (tree, yaml.safe_load(yaml.safe_dump(tree, sort_keys=False)), json.loads(json.dumps(tree))):
        again = Space.parse(text)
        assert again == space
        assert typed(again.to_tree()) == typed(tree)


def draw_with(data: st.DataObject, space: Space, base: TrialConfig) -> Assignment:
    def suggest(_path: str, domain: Domain) -> Value:
        if isinstance(domain, Categorical):
            return data.draw(st.sampled_from(domain.choices))
        kind = st.floats if isinstance(domain, Float) else st.integers
        return data.draw(kind(domain.low, domain.high))  # type: ignore[operator]

    return space.draw(suggest, base)


@given(st.data())
def test_a_dimension_is_drawn_where_its_condition_is_met_and_nowhere_else(data: st.DataObject) -> None:
    point = draw_with(data, SPACE, BASE)
    assert ("heads.*.hidden_size" in point) == (point["heads.*.kind"] == "mlp")
    assert ("objective.smart.weights.*" in point) == point["objective.smart.enabled"]
    assert list(point) == [d.path for d in SPACE.dimensions if d.path in point]
    assert all(d.domain.contains(point[d.path]) for d in SPACE.dimensions if d.path in point)
    BASE.override(point)


@pytest.mark.parametrize(
    ("assignments", "is_drawn"),
    [({}, False), ({"heads.*.kind": "mlp"}, True), ({"heads.sst.kind": "mlp"}, False), ({"heads.sts.kind": "mlp"}, False)],
)
def test_a_condition_outside_the_space_is_met_by_the_config_by_all_its_entries(
    assignments: dict[str, Any], is_drawn: bool
) -> None:
    space, base = SPACE.without(assignments or {"heads.*.kind": "linear"}), BASE.override(assignments)
    assert "heads.*.kind" not in [d.path for d in space.dimensions]
    point = space.draw(lambda _path, domain: domain.grid(2)[-1], base)
    assert ("heads.*.hidden_size" in point) == is_drawn
    assert space.problems(base) == []
    base.override(point)


@pytest.mark.parametrize("base", [BASE, BASE.override({"heads.*.kind": "mlp", "objective.smart.enabled": True})])
@pytest.mark.parametrize("without", [[], ["heads.*.kind"], ["objective.smart.enabled"], ["optimizer.lr", "heads.*.kind"]])
def test_a_grid_holds_each_active_combination_once(base: TrialConfig, without: list[str]) -> None:
    space = SPACE.without(dict.fromkeys(without))
    points = list(space.grid(base, 3))
    keys = [tuple(point.items()) for point in points]
    assert len(set(keys)) == len(keys)

    def all_points(dimensions: tuple[Dimension, ...], point: Assignment) -> set[Any]:
        """By brute force: each value of each dimension, those that `draw` leaves out dropped."""
        if not dimensions:
            return {tuple(space.draw(lambda path, _domain: point[path], base).items())}
        first, *rest = dimensions
        return {found for value in first.domain.grid(3) for found in all_points(tuple(rest), {**point, first.path: value})}

    assert set(keys) == all_points(space.dimensions, {})


def test_a_grid_is_counted() -> None:
    assert len(list(SPACE.grid(BASE, 3))) == 3 * (1 + 3) * (1 + 3)
    assert len(list(SPACE.grid(BASE, 1))) == 1 * (1 + 1) * (1 + 1)


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("optimizer.lr", 4),
        ("heads.sst.kind", 4),
        ("heads.*.kind", 4),
        ("heads", 3),
        ("heads.sst", 3),
        ("objective.smart.weights.qqp", 4),
        ("objective", 3),
        ("optimizer.eps", 5),
        ("phases", 5),
    ],
)
def test_what_is_set_by_hand_does_not_vary(path: str, left: int) -> None:
    assert len(SPACE.without({path: 1}).dimensions) == left
    assert SPACE.without({path: 1}).without({path: 1}) == SPACE.without({path: 1})


@pytest.mark.parametrize(
    ("dimensions", "problem"),
    [
        ((), "space s: nothing varies; at least one dimension is needed"),
        (
            (Dimension("optimizer.lrr", Float(0.1, 1)),),
            "space s: optimizer.lrr: there is no 'lrr' to set (did you mean lr?)",
        ),
        (
            (Dimension("optimizer.lr", Float(0.1, 1), when={"heads.*.knd": ("mlp",)}),),
            "space s: heads.*.knd: there is no 'knd' to set (did you mean kind?)",
        ),
        (
            (Dimension("optimizer.lr", Float(0.1, 2)),),
            "space s: optimizer.lr: input should be less than or equal to 1, but got 2",
        ),
        (
            (Dimension("encoder.pooling", Categorical(("cls", "sum"))),),
            "space s: encoder.pooling: input should be 'cls', 'mean', 'max' or 'attention', but got 'sum'",
        ),
        (
            (Dimension("optimizer.lr_schedule", Categorical(("slanted_triangular", "constant"))),),
            "space s: optimizer: warmup_fraction > 0 must hold for lr_schedule=slanted_triangular, but got warmup_fraction=0.0",
        ),
        (  # seen only where two values that are neither last meet
            (
                Dimension("optimizer.lr_schedule", Categorical(("slanted_triangular", "constant"))),
                Dimension("optimizer.warmup_fraction", Categorical((0.0, 0.1))),
            ),
            "space s: optimizer: warmup_fraction > 0 must hold for lr_schedule=slanted_triangular, but got warmup_fraction=0.0",
        ),
        (
            (Dimension("heads.*.hidden_size", Int(1, 5), when={"heads.*.dropout": (0.3,)}),),
            "space s: heads.sst: hidden_size is for kind=mlp, conv1d, abs_difference, compress_expand "
            "alone, but got kind=linear, hidden_size=1",
        ),
        (
            (KIND, Dimension("heads.*.hidden_size", Int(1, 5), when={"heads.*.kind": ("mpl", "lin")})),
            "space s: heads.*.hidden_size: its condition can never be met: heads.*.kind is none of mpl, lin",
        ),
    ],
)
def test_what_is_wrong_with_a_space_is_found_before_a_draw(dimensions: tuple[Dimension, ...], problem: str) -> None:
    assert problem in Space("s", dimensions).problems(BASE)


def test_mistakes_of_every_kind_are_told_at_once() -> None:
    space = Space(
        "s",
        (
            Dimension("optimizer.lrr", Float(0.1, 1)),
            KIND,
            Dimension("heads.*.dropout", Float(0, 0.5), when={"heads.*.kind": ("lin",)}),
            Dimension("data.batch_size", Categorical((0, 8))),
        ),
    )
    assert space.problems(BASE) == [
        "space s: optimizer.lrr: there is no 'lrr' to set (did you mean lr?)",
        "space s: heads.*.dropout: its condition can never be met: heads.*.kind is none of lin",
        "space s: data.batch_size: input should be greater than or equal to 1, but got 0",
    ]


def test_a_good_space_has_no_problems() -> None:
    assert SPACE.problems(BASE) == []
    assert SPACE.problems(BASE.override({"heads.*.kind": "mlp"})) == []


@settings(max_examples=50)
@given(st.data())
def test_a_space_without_problems_draws_nothing_that_is_refused(data: st.DataObject) -> None:
    assignments = data.draw(
        st.sampled_from(
            [
                {"heads.sst.kind": "mlp"},
                {"heads.*.kind": "mlp", "heads.qqp.hidden_size": 5},
                {"objective.smart.enabled": True},
                {"optimizer.warmup_fraction": 0.1},
            ]
        )
    )
    schedule = Dimension("optimizer.lr_schedule", Categorical(("slanted_triangular", "constant")))
    warmup = Dimension("optimizer.warmup_fraction", Float(data.draw(st.sampled_from([0.0, 0.1])), 0.5))
    dimensions = data.draw(st.permutations([schedule, warmup, LR]))
    space, base = Space("s", (*SPACE.dimensions[1:], *dimensions)).without(assignments), BASE.override(assignments)
    if not space.problems(base):
        base.override(draw_with(data, space, base))


def test_dimensions_come_after_those_that_their_conditions_name() -> None:
    with pytest.raises(ValueError, match=r"heads\.\*\.hidden_size: its condition names heads\.\*\.kind, which must come before"):
        Space("s", (WIDTH, KIND))
    with pytest.raises(ValueError, match=r"optimizer\.lr: each dimension may stand once"):
        Space("s", (LR, LR))


@pytest.mark.parametrize(
    ("new", "complaint"),
    [
        (Float(1e-6, 1e-2, log=True), None),
        (Float(1e-4, 2e-4, log=True), None),
        (Float(1e-5, 1e-3), "optimizer.lr: only the bounds of a range may change"),
        (Int(1, 2, log=True), "optimizer.lr: only the bounds of a range may change"),
        (Categorical((1e-5, 1e-3)), "optimizer.lr: only the bounds of a range may change"),
        (None, "optimizer.lr: a dimension cannot be taken out of a search that has begun"),
    ],
)
def test_only_bounds_may_change_once_a_search_has_begun(new: Domain | None, complaint: str | None) -> None:
    first = () if new is None else (Dimension("optimizer.lr", new),)
    complaints = widened(SPACE, Space("toy", (*first, *SPACE.dimensions[1:])))
    assert len(complaints) == (complaint is not None)
    assert not complaint or complaints[0].startswith(complaint)


def test_choices_are_fixed_and_dimensions_may_be_added() -> None:
    more = Dimension("heads.*.kind", Categorical(("linear", "mlp", "other")))
    assert len(widened(SPACE, Space("toy", (LR, more, *SPACE.dimensions[2:])))) == 1
    assert widened(SPACE, SPACE) == []
    assert widened(SPACE, Space("toy", (*SPACE.dimensions, Dimension("encoder.dropout", Float(0, 0.2))))) == []


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        ({"name": "s", "dimensons": {}}, "dimensons: unknown key (did you mean dimensions?)"),
        ({"dimensions": {}}, "name: must be given"),
        ({"name": "s", "dimensions": {"a": {}}}, "dimensions.a: exactly one of float, int, choices must be given, but got none"),
        (
            {"name": "s", "dimensions": {"a": {"float": [0, 1], "int": [0, 1]}}},
            "dimensions.a: exactly one of float, int, choices must be given, but got float, int",
        ),
        ({"name": "s", "dimensions": {"a": {"flot": [0, 1]}}}, "dimensions.a.flot: unknown key (did you mean float?)"),
        ({"name": "s", "dimensions": {"a": {"int": [3, 1]}}}, "dimensions.a: low <= high must hold, but got low=3, high=1"),
        (
            {"name": "s", "dimensions": {"a": {"float": [0, 1], "log": True}}},
            "dimensions.a: low > 0 must hold where log is on, but got low=0.0",
        ),
        (
            {"name": "s", "dimensions": {"a": {"choices": [[1], 2]}}},
            "dimensions.a.choices: choices must be numbers, words or true/false, but got [[1], 2]",
        ),
        ({"name": "s", "dimensions": {"a": {"choices": []}}}, "dimensions.a: at least one choice must be given, but got none"),
        (
            {"name": "s", "dimensions": {"a": {"int": [1, 2], "when": {"b": [1]}}, "b": {"int": [1, 2]}}},
            "space s: a: its condition names b, which must come before it",
        ),
    ],
)
def test_a_mistake_in_a_space_is_told_with_its_place(tree: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Space.parse(tree)
    assert problem in caught.value.problems


def test_a_space_is_read_from_a_file_and_takes_its_name_where_it_has_none(tmp_path: Path) -> None:
    tree = SPACE.to_tree()
    write_yaml({"dimensions": tree["dimensions"]}, tmp_path / "mine.yaml")
    assert Space.read(tmp_path / "mine.yaml") == Space("mine", SPACE.dimensions)
    (tmp_path / "text.yaml").write_text("dimensions:\n  optimizer.lr: {float: [1e-5, 1e-3], log: true, source: a paper}\n")
    assert Space.read(tmp_path / "text.yaml").dimensions == (LR,)


@pytest.mark.parametrize("text", [None, "- 1", "dimensions: {a: {}, b: {flot: 1}}"])
def test_each_mistake_of_a_file_begins_with_its_name(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Space.read(path)
    assert all(problem.startswith(f"{path}: ") for problem in caught.value.problems)
