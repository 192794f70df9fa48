"""Plain values out of files that somebody else may have written: YAML and JSON with limits.

Ten lines of YAML can mean a billion values (aliases of aliases), a row of brackets exhausts the stack, a name may lead to a
device that never ends, and a tag may ask for code.  What is read here is at most so long, so deep and so many; tags other than
those of plain values, keys that are no text and keys that stand twice are refused, each with its place.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent

MAX_YAML_BYTES = 2**18
MAX_JSON_BYTES = 2**26
"""64 MiB: the state of a trial with a thousand reports takes a few, the tokenizer of 250,000 pieces about 20."""
MAX_VALUES = 10_000
"""In a YAML text, an alias counted as all that it stands for."""
MAX_DEPTH = 40
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Of the terminal, and of the direction of writing."""
_YAML_TAG = "tag:yaml.org,2002:"
_KINDS = frozenset({"map", "seq", "str", "int", "float", "bool", "null", "merge"})


class TooLargeError(ValueError):
    """A file that is longer than what it should be can be."""


class PlainLoader(yaml.SafeLoader):
    """Safe YAML of plain values.  Unlike in YAML 1.1, `3e-5` is a number and `2026-11-22` is text.

    Raises:
        yaml.YAMLError: with its place, as soon as it is met: too many values or levels, another tag, a key that is no text or
            stands twice, a number that is none.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._num_values = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, counted and looked at."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        before, is_alias = self._num_values, self.check_event(AliasEvent)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ComposerError(None, None, f"at most {MAX_DEPTH} levels may lie in each other", mark)
        self._count(1, mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if is_alias:
            if id(node) not in self._sizes:
                raise ComposerError(None, None, "an alias stands inside of what it names", mark)
            self._count(self._sizes[id(node)], mark)
        else:
            self._sizes[id(node)] = self._num_values - before
            _look_at(node)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """What a node means; numbers that Python does not read, such as `0b_`, are told like all mistakes."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, ArithmeticError):
            said = f"{str(node.value)[:40]!r} is no {node.tag.removeprefix(_YAML_TAG)} that can be read"
            raise ConstructorError(None, None, said, node.start_mark) from None

    def _count(self, num_values: int, mark: Any) -> None:
        self._num_values += num_values
        if self._num_values > MAX_VALUES:
            raise ComposerError(None, None, f"at most {MAX_VALUES} values may stand here, an alias for all that it names", mark)


PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag.removeprefix(_YAML_TAG) in _KINDS]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
PlainLoader.add_implicit_resolver(f"{_YAML_TAG}float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789."))


class PlainDumper(yaml.SafeDumper):
    """Plain values as YAML that `PlainLoader` reads back: text that it would take for a number, such as `0E0`, is quoted."""


PlainDumper.yaml_implicit_resolvers = PlainLoader.yaml_implicit_resolvers


def dump_yaml(tree: Any) -> str:
    """Plain values as YAML, keys in their order; `parse_yaml` gives them back."""
    return yaml.dump(tree, Dumper=PlainDumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str) -> Any:
    """The plain values in a YAML text.

    Raises:
        yaml.YAMLError: it is none, or holds what `PlainLoader` refuses.
    """
    return yaml.load(text, Loader=PlainLoader)


def compose_yaml(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, which know the line that they stand on.

    Raises:
        yaml.YAMLError: as `parse_yaml`.
    """
    return yaml.compose(text, Loader=PlainLoader)


def read_text(path: Path, max_bytes: int = MAX_YAML_BYTES) -> str:
    """The text of a file that should be short.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
        TooLargeError: it is longer than `max_bytes`; no more than that was read.
    """
    with path.open("rb") as file:
        raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise TooLargeError(f"at most {max_bytes} bytes may stand here, but there are more")
    return raw.decode("utf-8")


def parse_json(text: str) -> Any:
    """The plain values in a JSON text.

    Raises:
        ValueError: it is none, or its brackets exhaust the stack.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("too many levels lie in each other") from None


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The plain values in a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none, not UTF-8, longer than `max_bytes` or nested too deep.
    """
    return parse_json(read_text(path, max_bytes))


def _look_at(node: yaml.Node) -> None:
    """Refuses tags of other than plain values, and in a mapping keys that are no text or stand twice."""
    if node.tag.removeprefix(_YAML_TAG) not in _KINDS:
        raise ConstructorError(None, None, f"the tag {node.tag} is not read; plain values alone", node.start_mark)
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag.removeprefix(_YAML_TAG) not in {"str", "merge"}:
            shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
            raise ConstructorError(None, None, f"a key must be text, but got {shown}; quotes make it text", key.start_mark)
        if key.value in seen:
            raise ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
        seen.add(key.value)
