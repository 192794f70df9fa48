import json
from typing import Any

import pytest

from reports import drawing
from reports.confirmed import ConfirmedRow, ConfirmedTable
from reports.curves import ConflictCurve, Curve, curves
from reports.mistakes import Confusion, Scatter
from reports.parameters import Slice
from search_spaces.domains import Categorical, Float
from tests import synthetic


def drawn(figure: Any) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(drawing.as_json(figure))
    return tree


def test_no_two_endings_are_told_apart_by_colour_alone() -> None:
    colours, dashes, markers = zip(*drawing.ENDINGS.values(), strict=True)
    for told in (colours, dashes, markers):
        assert len(set(told)) == len(drawing.ENDINGS)


def test_each_curve_is_drawn_with_a_gap_behind_it_and_a_marker_at_its_end() -> None:
    found = [
        Curve(3, "complete", (100, 200), (0.1, 0.2)),
        Curve(4, "complete", (100,), (0.3,)),
        Curve(5, "failed", (100,), (0.4,)),
    ]
    figure = drawn(drawing.learning_curves(found, (100,)))
    lines, ends, *failed = figure["data"]
    assert lines["x"] == [100, 200, None, 100, None]
    assert lines["y"] == [0.1, 0.2, None, 0.3, None]
    assert (ends["x"], ends["customdata"], ends["name"]) == ([200, 100], [3, 4], "complete (2)")
    assert failed[1]["name"] == "failed (1)"
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [100]
    assert figure["layout"]["annotations"][0]["text"] == "rung 1"


def test_of_very_many_curves_some_are_drawn_and_all_are_counted() -> None:
    found = curves(synthetic.records(drawing.MOST_CURVES + 500))
    data = drawn(drawing.learning_curves(found, ()))["data"]
    names = [trace["name"] for trace in data if "name" in trace]
    assert sum(int(name.partition("(")[2].rstrip(")")) for name in names) == len(found)
    assert sum(len(trace["x"]) for trace in data if "name" in trace) == drawing.MOST_CURVES


def test_intervals_reach_from_their_low_to_their_high_end() -> None:
    row = ConfirmedRow(7, 0.75, 0.70, 0.01, (0.68, 0.73), 0.02, (0.0, 0.04), 0.9, 0.05, (10, 11))
    confirmed, chosen = drawn(drawing.intervals(ConfirmedTable((row,), "claim", ())))["data"]
    assert confirmed["x"] == [0.70]
    assert confirmed["error_x"]["array"] == [pytest.approx(0.03)]
    assert confirmed["error_x"]["arrayminus"] == [pytest.approx(0.02)]
    assert (chosen["x"], chosen["y"]) == ([0.75], ["trial 7"])


def test_a_slice_shows_all_that_was_searched() -> None:
    shapes = drawn(drawing.slice_(Slice("lr", Float(1e-5, 1e-3, log=True), ((0, 1e-4, 0.5, "complete"),))))["layout"]["shapes"]
    assert [shape["x0"] for shape in shapes] == [1e-5, 1e-3]
    found = drawn(drawing.slice_(Slice("kind", Categorical(("a", "b", True)), ((0, "b", 0.5, "stopped"),))))
    assert found["layout"]["xaxis"]["categoryarray"] == ["a", "b", "true"]
    assert found["data"][0]["x"] == ["b"]


def test_confusion_is_coloured_by_the_share_of_its_row_and_says_counts() -> None:
    [heat] = drawn(drawing.confusion(Confusion("t", ("no", "yes"), ((3, 1), (0, 0)))))["data"]
    assert heat["z"] == [[0.75, 0.25], [0, 0]]
    assert heat["text"] == [[3, 1], [0, 0]]


def test_scatter_and_conflicts_hold_their_points() -> None:
    rows, right = drawn(drawing.scatter(Scatter("t", 0, 5, ((1, 1.5), (4, 3)))))["data"]
    assert (rows["x"], rows["y"], right["x"]) == ([1, 4], [1.5, 3], [0, 5])
    [line] = drawn(drawing.conflicts([ConflictCurve(3, (10, 20), (0.5, 0.25), {})]))["data"]
    assert (line["x"], line["y"], line["name"]) == ([10, 20], [0.5, 0.25], "trial 3")


def test_the_librarys_own_markup_cannot_be_written_from_outside() -> None:
    bad = '<a href="http://a.b">x</a>'
    found = drawing.as_json(drawing.slice_(Slice(bad, Categorical((bad,)), ((0, bad, 0.5, "complete"),))))
    assert "<a" not in json.loads(found)["layout"]["xaxis"]["title"]["text"]
    assert "&lt;a" in found
    assert "<a " not in found
