import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trainables.plain_files import (
    MAX_DEPTH,
    MAX_VALUES,
    TooLargeError,
    dump_yaml,
    parse_json,
    parse_yaml,
    read_json,
    read_text,
)

WORDS = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=12)
LEAVES = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | WORDS
TREES = st.recursive(LEAVES, lambda t: st.lists(t, max_size=4) | st.dictionaries(WORDS, t, max_size=4), max_leaves=30)


@given(TREES)
def test_what_was_dumped_is_read_back(tree: Any) -> None:
    assert parse_yaml(dump_yaml(tree)) == tree
    assert parse_json(json.dumps(tree)) == tree


@pytest.mark.parametrize("text", ["0E0", "3e-5", "1.e5", "2026-11-22", "yes", "~", "0x1f", ""])
def test_text_that_looks_like_a_value_is_text_again(text: str) -> None:
    assert parse_yaml(dump_yaml({text: [text]})) == {text: [text]}


@given(st.text(max_size=80))
def test_any_text_is_a_value_or_an_error_of_yaml(text: str) -> None:
    try:
        parse_yaml(text)
    except yaml.YAMLError:
        return


def bomb(depth: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    return "\n".join([*lines, *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, depth))])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(9), f"at most {MAX_VALUES} values"),
        ("x: {<<: [" + ", ".join(["&m {a: 1}"] + ["*m"] * MAX_VALUES) + "]}", f"at most {MAX_VALUES} values"),
        ("- x\n" * (MAX_VALUES + 1), f"at most {MAX_VALUES} values"),
        ("[" * 10_000, f"at most {MAX_DEPTH} levels"),
        ("- " * 500 + "x", f"at most {MAX_DEPTH} levels"),
        ("a: &a [*a]", "an alias stands inside of what it names"),
        ("&a {<<: *a}", "an alias stands inside of what it names"),
        ("x: !!python/object/apply:os.system ['true']", "the tag tag:yaml.org,2002:python/object/apply:os.system is not read"),
        ("x: !!python/name:os.system", "is not read"),
        ("x: !include /etc/passwd", "the tag !include is not read"),
        ("x: !!binary aGVsbG8=", "is not read"),
        ("x: !!set {a, b}", "is not read"),
        ("x: 0b_", "'0b_' is no int"),
        ("x: " + "9" * 5000, "is no int"),
        ("x: !!float ''", "'' is no float"),
        ("x: !!bool maybe", "'maybe' is no bool"),
        ("1: x", "a key must be text, but got '1'"),
        ("no: x", "a key must be text, but got 'no'"),
        ("? [a]\n: x", "a key must be text, but got a list or a mapping"),
        ("lr: 1\nlr: 2", "the key 'lr' stands twice"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_more_than_plain_values_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        parse_yaml(text)
    assert said in str(caught.value.problem) and caught.value.problem_mark is not None


def test_aliases_and_merges_of_a_sane_size_are_read() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": [{"x": 1}] * 2,
    }
    assert parse_yaml("day: 2026-11-22") == {"day": "2026-11-22"}


def test_no_more_is_read_than_may_stand_there(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("abc")
    assert read_text(tmp_path / "f", 3) == "abc"
    with pytest.raises(TooLargeError, match="at most 2 bytes"):
        read_text(tmp_path / "f", 2)
    with pytest.raises(TooLargeError):
        read_text(Path("/dev/zero"), 1000)


def test_json_that_exhausts_the_stack_is_a_mistake_like_others(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="too many levels"):
        read_json(tmp_path / "f")
