import json
from dataclasses import replace
from pathlib import Path

from reports import sections_parameters
from reports.leaderboard import leaderboard_of
from reports.page import Figures, Paragraph
from reports.parameters import NOT_USED
from reports.search import Search
from search_spaces.domains import Categorical, Float
from search_spaces.space import Dimension, Space
from tests import synthetic
from tuner.records import TrialRecord

SPACE = Space(
    "s",
    (
        Dimension("kind", Categorical(("a", "b"))),
        Dimension("of_a", Float(0, 1), {"kind": ("a",)}),
        Dimension("of_b", Float(0, 1), {"kind": ("b",)}),
    ),
)


def search_of_many(folder: Path) -> Search:
    """Eighty trials, the last of them the best."""
    records = []
    for number in range(80):
        kind, value = "ab"[number % 2], (number // 2) / 40
        report = {"report": 1, "budget": 1, "score": value + number / 1000, "train_seconds": 1.0}
        records.append(TrialRecord(number, "complete", {"kind": kind, f"of_{kind}": value}, {}, (report,)))
    header = {**synthetic.HEADER, "space": SPACE.to_tree()}
    return Search(folder, header, records, leaderboard_of(header, records))


def test_the_winners_line_lies_above_all_others(tmp_path: Path) -> None:
    search = search_of_many(tmp_path)
    _, parallel, _ = sections_parameters.all_of_parameters(search)
    (figures,) = (part for part in parallel.parts if isinstance(part, Figures))
    drawn = json.loads(figures.drawings[0].json)
    *others, last = drawn["data"]
    assert last["name"] == "trial 79, the winner"
    assert [trace["name"] for trace in others] == ["others (40)", "better half (32)", "best tenth (8)"]
    paths = [tick.replace("<br>", ".") for tick in drawn["layout"]["xaxis"]["ticktext"]]
    assert dict(zip(paths, last["y"], strict=False)) == {"kind": 1.0, "of_b": 0.975, "of_a": NOT_USED}


def test_of_the_two_that_matter_most_and_exclude_each_other_it_is_said(tmp_path: Path) -> None:
    search = search_of_many(tmp_path)
    importance, _, _ = sections_parameters.all_of_parameters(search)
    said = [part.text for part in importance.parts if isinstance(part, Paragraph)]
    assert said[-1] in {f"In no trial of_{x} and of_{y} both play a part." for x, y in ("ab", "ba")}


def test_what_too_few_had_to_tell_of_is_named(tmp_path: Path) -> None:
    search = search_of_many(tmp_path)
    rare = [replace(record, assignment={"kind": "a", "of_a": record.number / 80}) for record in search.records[:78]]
    records = [*rare, *search.records[78:]]
    importance, _, _ = sections_parameters.all_of_parameters(
        Search(tmp_path, search.header, records, leaderboard_of(search.header, records))
    )
    said = [part.text for part in importance.parts if isinstance(part, Paragraph)]
    assert said[1] == "Left out, as fewer than five trials had them, or fewer than 3 of the best: of_b."
