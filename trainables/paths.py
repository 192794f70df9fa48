"""Trees of plain values: YAML in and out, and paths into them.

Paths address a value: `optimizer.lr`, `phases.0.task_schedule`, and `*` for all entries at once: `heads.*.kind`.
"""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from trainables.parts import ConfigError, nearest
from trainables.plain_files import TooLargeError, compose_yaml, dump_yaml, parse_yaml, read_text

PARTS_OF_A_SEARCH = {"settings", "space", "config"}
"""Keys of a file that holds all of a search, for people: `settings.yaml`, `--print-config`."""


def assign(tree: dict[str, Any], assignments: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `tree` with the value at each path replaced.

    Raises:
        ConfigError: naming each path that leads nowhere, and the nearest key.
    """
    out, problems = assign_known(tree, assignments)
    if problems:
        raise ConfigError(problems)
    return out


def assign_known(tree: dict[str, Any], assignments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """As `assign`, of the paths that lead somewhere; and a sentence for each that does not."""
    out = copy.deepcopy(tree)
    problems = []
    for path, value in assignments.items():
        try:
            _assign_one(out, path.split("."), value, path)
        except ConfigError as error:
            problems += error.problems
    return out, problems


def values_at(tree: Any, path: str) -> list[Any]:
    """The values at a path: one, or with `*` all that it matches.

    Raises:
        ConfigError: the path leads nowhere.
    """
    found = [tree]
    for key in path.split("."):
        found = [part[name] for part in found for name in _keys(part, key, path)]
    return found


def parse_value(text: str) -> Any:
    """A value as it is typed after `=` on a command line: YAML, with `3e-5` for a number.

    Raises:
        ConfigError: the text is no YAML.
    """
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError([f"{text!r} is no YAML value: {_one_line(error)}"]) from None


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """`["optimizer.lr=3e-5", ...]` as a mapping of paths to values.

    Raises:
        ConfigError: a text without `=`, or whose value is no YAML.
    """
    out, problems = {}, []
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path:
            problems.append(f"--set wants PATH=VALUE, such as optimizer.lr=3e-5, but got {text!r}")
            continue
        try:
            out[path.strip()] = parse_value(value)
        except ConfigError as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return out


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: no such file, not UTF-8, no YAML of plain values (see `PlainLoader`), too long, or no mapping.
    """
    try:
        tree = parse_yaml(read_text(path))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file"]) from None
    except (OSError, UnicodeDecodeError, TooLargeError, yaml.YAMLError) as error:
        raise ConfigError([f"{path}: {_one_line(error)}"]) from None
    if not isinstance(tree, dict):
        raise ConfigError([f"{path}: a mapping of keys to values must stand here, but got {type(tree).__name__}"])
    return tree


def read_part_of(path: Path, part: str) -> dict[str, Any]:
    """The mapping in a YAML file; of one that holds all of a search, as `--print-config` prints it, the part asked for.

    Raises:
        ConfigError: as `read_yaml`.
    """
    tree = read_yaml(path)
    if tree.keys() != PARTS_OF_A_SEARCH:
        return tree
    inner = tree[part]
    if not isinstance(inner, dict):
        raise ConfigError([f"{path}: {part}: a mapping of keys to values must stand here, but got {type(inner).__name__}"])
    return inner


def lines_of(path: Path) -> dict[str, int]:
    """The line, from 1, on which the value at each path of a YAML file stands; `""` is the whole.  For a file that is read."""
    lines: dict[str, int] = {}

    def walk(node: yaml.Node, path: str) -> None:
        lines[path] = node.start_mark.line + 1
        prefix = f"{path}." if path else ""
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                walk(value, f"{prefix}{key.value}")
                lines[f"{prefix}{key.value}"] = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                walk(value, f"{prefix}{index}")

    root = compose_yaml(read_text(path))
    if root is not None:
        walk(root, "")
    return lines


def write_yaml(tree: Mapping[str, Any], path: Path) -> None:
    """Writes a tree of plain values as YAML, keys in the order given."""
    path.write_text(dump_yaml(dict(tree)), encoding="utf-8")


def _assign_one(tree: Any, keys: list[str], value: Any, path: str) -> None:
    for key in _keys(tree, keys[0], path):
        if len(keys) == 1:
            tree[key] = value
        else:
            _assign_one(tree[key], keys[1:], value, path)


def _keys(tree: Any, key: str, path: str) -> list[Any]:
    """The keys of `tree` that one component of a path means."""
    known: list[Any] = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    if key == "*" and known:
        return known
    matching = [k for k in known if str(k) == key]
    if not matching:
        names = [str(k) for k in known]
        hint = nearest(key, names) or (f"; known here: {', '.join(names)}" if names else "")
        raise ConfigError([f"{path}: there is no {key!r} to set{hint}"])
    return matching


def _one_line(error: Exception) -> str:
    """What is wrong, and for YAML where: without the parser's own name for the text."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is not None and problem:
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else " ".join(str(error).split())
