from pathlib import Path

from reports import sections_parameters
from reports.leaderboard import leaderboard_of
from reports.page import Paragraph
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


def test_of_the_two_that_matter_most_and_exclude_each_other_it_is_said(tmp_path: Path) -> None:
    records = []
    for number in range(40):
        kind, value = "ab"[number % 2], (number // 2) / 20
        report = {"report": 1, "budget": 1, "score": value, "train_seconds": 1.0}
        records.append(TrialRecord(number, "complete", {"kind": kind, f"of_{kind}": value}, {}, (report,)))
    header = {**synthetic.HEADER, "space": SPACE.to_tree()}
    importance, _, _ = sections_parameters.all_of_parameters(Search(tmp_path, header, records, leaderboard_of(header, records)))
    said = [part.text for part in importance.parts if isinstance(part, Paragraph)]
    assert said[-1] in {f"In no trial of_{x} and of_{y} both play a part." for x, y in ("ab", "ba")}
