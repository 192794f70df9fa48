import os
from pathlib import Path

import pytest

from tuner.inspection import Finding, lasting, walk

ONE, OTHER = [Finding("one", "do")], [Finding("other", "do")]


@pytest.mark.parametrize(
    ("looks", "found"),
    [
        ([[]], []),
        ([ONE, ONE], ONE),
        ([ONE, []], []),
        ([ONE, OTHER, OTHER], OTHER),
        ([ONE, OTHER, []], []),
        ([ONE, OTHER] * 9, []),
    ],
    ids=["nothing", "stays", "goes", "becomes another", "becomes another and goes", "never rests"],
)
def test_only_what_two_looks_find_lasts(looks: list[list[Finding]], found: list[Finding]) -> None:
    left = iter(looks)
    assert lasting(lambda: next(left)) == found


def test_what_vanishes_while_it_is_walked_is_left_out(tmp_path: Path) -> None:
    for name in ("a/x", "b/y", "c/z"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    seen = []
    for path in walk(tmp_path):
        seen.append(str(path.relative_to(tmp_path)))
        if path.name == "b":
            os.rmdir(path / "y")
            os.rmdir(path)
    assert seen == ["a", "b", "c", "link", "a/x", "c/z"]
    assert list(walk(tmp_path / "nowhere")) == []
