"""Configs as values: parts that are frozen, strict and checked at birth, and their mistakes as sentences, all at once."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

_SAID = {
    "tuple_type": "a list must stand here",
    "too_short": "at least {min_length} must stand here",
    "too_long": "at most {max_length} may stand here",
}
"""Kinds of pydantic's errors that it tells in Python's words -> ours."""
_LONGEST_PATH = 300
T = TypeVar("T")
P = TypeVar("P", bound="Part")


class ConfigError(ValueError):
    """One or more mistakes in a config; `problems` holds a sentence for each, `str()` all of them."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def sentences_of(error: Exception) -> list[str]:
    """What an error says: each of its problems, or of a path that the system refuses (too long, not ours) which and why."""
    if isinstance(error, OSError) and error.filename is not None:
        return [f"{str(error.filename)[:_LONGEST_PATH]}: {error.strerror}"]
    return list(getattr(error, "problems", None) or str(error).splitlines() or [type(error).__name__])


class Problems:
    """Collects mistakes, so that all of them are told at once."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}

    def add(self, *sentences: str) -> None:
        """Notes mistakes; the same one is told once."""
        self._sentences.update(dict.fromkeys(sentences))

    def __bool__(self) -> bool:
        return bool(self._sentences)

    @property
    def sentences(self) -> list[str]:
        """All of them, in the order in which they were found."""
        return list(self._sentences)

    def attempt(self, make: Callable[[], T]) -> T | None:
        """What `make` returns, or None and a note of what it complains about."""
        try:
            return make()
        except (ValueError, OSError) as error:
            self.add(*sentences_of(error))
            return None

    def raise_any(self) -> None:
        """Raises all of them as one `ConfigError`, if there are any."""
        if self._sentences:
            raise ConfigError(self._sentences)


class Part(BaseModel):
    """A part of a config: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def __hash__(self) -> int:
        values = self.__dict__.values()
        return hash((type(self), *(tuple(value.items()) if isinstance(value, dict) else value for value in values)))


def parse_part(cls: type[P], tree: Mapping[str, Any]) -> P:
    """Builds a part from plain values, all mistakes in one `ConfigError`."""
    if not isinstance(tree, Mapping):
        raise ConfigError([f"a config is a mapping of keys to values, but got {type(tree).__name__}"])
    try:
        return cls.model_validate(tree)
    except ValidationError as error:
        errors: list[dict[str, Any]] = [dict(item) for item in error.errors()]
        inner = {item["loc"][:place] for item in errors for place, key in enumerate(item["loc"]) if isinstance(key, int)}
        echoes = [item for item in errors if item["type"] == "too_short" and item["loc"] in inner]
        raise ConfigError(line for item in errors if item not in echoes for line in _sentences(cls, item)) from None


def nearest(word: str, words: Iterable[str]) -> str:
    """` (did you mean X?)` for the word most like `word`, or an empty string."""
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" (did you mean {found[0]}?)" if found else ""


def _sentences(cls: type[BaseModel], error: dict[str, Any]) -> list[str]:
    """One of pydantic's errors; mistakes that a part found all over itself are told one by one."""
    inner = error.get("ctx", {}).get("error")
    if isinstance(inner, ConfigError):
        prefix = ".".join(str(part) for part in error["loc"])
        return [f"{prefix}.{problem}" if prefix else problem for problem in inner.problems]
    return [_sentence(cls, error)]


def _sentence(cls: type[BaseModel], error: dict[str, Any]) -> str:
    """One of pydantic's errors as `path: rule, but got value`."""
    location = [str(part) for part in error["loc"]]
    path = ".".join(location) or cls.__name__
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key{nearest(location[-1], _known_keys(cls, location[:-1]))}"
    if error["type"] == "missing":
        return f"{path}: must be given"
    message: str = error["msg"].removeprefix("Value error, ")
    if not location and error["type"] == "value_error" and message.partition(": ")[0] in cls.model_fields:
        return message  # a part's own rule that names its key
    ours = _SAID.get(error["type"])
    message = ours.format(**error.get("ctx", {})) if ours else message[0].lower() + message[1:]
    return f"{path}: {message}" if error["type"] == "value_error" else f"{path}: {message}, but got {error['input']!r}"


def _known_keys(cls: type[BaseModel], location: list[str]) -> list[str]:
    """The keys of the part at `location`."""
    part: Any = cls
    for key in location:
        if isinstance(part, type) and issubclass(part, BaseModel) and key in part.model_fields:
            part = part.model_fields[key].annotation
            continue
        inner = [a for a in getattr(part, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
        part = inner[0] if inner else None
    inner = [a for a in getattr(part, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
    part = inner[0] if inner else part
    if not (isinstance(part, type) and issubclass(part, BaseModel)):
        return []
    return [info.alias or name for name, info in part.model_fields.items()]
