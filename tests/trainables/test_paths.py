from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import TrialConfig
from trainables.config_parts import HeadConfig
from trainables.parts import ConfigError
from trainables.paths import assign, parse_assignments, parse_value, read_yaml, values_at
from trainables.tasks import CS224N


@given(st.sampled_from(["kind", "dropout"]), st.sampled_from([*CS224N.by_name, "*"]))
def test_an_assignment_changes_its_places_alone(key: str, task: str) -> None:
    value = "mlp" if key == "kind" else 0.25
    before = TrialConfig()
    after = before.override({f"heads.{task}.{key}": value})
    for name in CS224N.by_name:
        expected = {**before.heads[name].model_dump(), key: value} if task in (name, "*") else before.heads[name].model_dump()
        assert after.heads[name] == HeadConfig(**expected)
    assert {**after.to_tree(), "heads": None} == {**before.to_tree(), "heads": None}


def test_assigning_leaves_the_tree_as_it_was() -> None:
    tree = TrialConfig().to_tree()
    assigned = assign(tree, {"objective.smart.weights.*": 2.0, "phases.0.lr": 1e-4})
    assert tree == TrialConfig().to_tree()
    assert assigned["objective"]["smart"]["weights"] == {"sst": 2.0, "qqp": 2.0, "sts": 2.0}
    assert assigned["phases"][0]["lr"] == 1e-4


def test_all_wrong_paths_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig().override({"optimizer.lrr": 1, "seed": 3, "had.sst": 1})
    assert caught.value.problems == [
        "optimizer.lrr: there is no 'lrr' to set (did you mean lr?)",
        "had.sst: there is no 'had' to set (did you mean heads?)",
    ]


def test_the_values_at_a_path() -> None:
    tree = TrialConfig().override({"heads.qqp.kind": "mlp"}).to_tree()
    assert values_at(tree, "heads.*.kind") == ["linear", "mlp", "linear"]
    assert values_at(tree, "phases.0.tasks.1") == ["qqp"]
    assert values_at(tree, "seed") == [0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-5", 3e-5),
        ("-1E+3", -1000.0),
        ("1.5e3", 1500.0),
        (".5e1", 5.0),
        ("3", 3),
        ("0.1", 0.1),
        ("true", True),
        ("null", None),
        ("", None),
        ("mlp", "mlp"),
        ("e5", "e5"),
        ("3e-5x", "3e-5x"),
        ("[sst, qqp]", ["sst", "qqp"]),
        ("'3e-5'", "3e-5"),
        ("a=b", "a=b"),
    ],
)
def test_values_as_they_are_typed(text: str, value: Any, tmp_path: Path) -> None:
    for read in (parse_value(text), parse_assignments([f"x.y={text}"])["x.y"]):
        assert read == value and type(read) is type(value)
    (tmp_path / "c.yaml").write_text(f"x: {text}\n")
    assert read_yaml(tmp_path / "c.yaml")["x"] == value


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans())
def test_numbers_are_read_as_python_writes_them(value: Any) -> None:
    read = parse_value(str(value).lower() if isinstance(value, bool) else repr(value))
    assert read == value and type(read) is type(value)


def test_all_wrong_assignments_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_assignments(["optimizer.lr", "=3", "a=[1", "seed=3"])
    assert caught.value.problems[:2] == [
        "--set wants PATH=VALUE, such as optimizer.lr=3e-5, but got 'optimizer.lr'",
        "--set wants PATH=VALUE, such as optimizer.lr=3e-5, but got '=3'",
    ]
    assert caught.value.problems[2].startswith("a: '[1' is no YAML value: ")
    assert len(caught.value.problems) == 3 and "\n" not in caught.value.problems[2]


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!x 1"])
def test_yaml_cannot_run_code(text: str) -> None:
    with pytest.raises(ConfigError, match="is no YAML value"):
        parse_value(text)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file"),
        (b"\xff\xfe\xfa", "it is not UTF-8"),
        (b"a: [1", "expected"),
        (b"- 1\n", "a mapping of keys to values must stand here, but got list"),
        (b"", "a mapping of keys to values must stand here, but got NoneType"),
    ],
)
def test_a_file_that_holds_no_mapping_is_named(content: bytes | None, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    [only] = caught.value.problems
    assert only.startswith(f"{path}: ") and problem in only and "\n" not in only
