"""A search space: config paths, their domains, and when each of them plays a part."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field, field_validator, model_validator

from search_spaces.covering import covering_points
from search_spaces.domains import Categorical, Domain, Float, Int, Value
from trainables.config import TrialConfig
from trainables.parts import ConfigError, Part, parse_part
from trainables.paths import read_part_of, values_at

Assignment = dict[str, Value]
"""Config paths to values: one point of a space."""


GRID_POINTS = 3
"""Values that a grid search takes of each range."""


@dataclass(frozen=True)
class Dimension:
    """One thing that varies.

    Attributes:
        path: where in the config; `*` sets all entries to the same value.
        domain: what it may be.
        when: other paths and the values they must have (all entries, where the path has a `*`) for this one to play a part;
            empty: always.
        source: where the range comes from.
        variant: tells dimensions of one path apart, whose conditions then exclude each other: a path may have one range here
            and another there.
    """

    path: str
    domain: Domain
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""
    variant: str = ""

    @property
    def name(self) -> str:
        """What the sampler knows it by: its path, and behind `@` its variant."""
        return f"{self.path}@{self.variant}" if self.variant else self.path


@dataclass(frozen=True)
class Space:
    """Dimensions in an order in which each comes after those that its condition names.

    Attributes:
        starts: settings that are tried first, each as config path -> value; what they leave open is drawn.

    Raises:
        ValueError: a name twice, two variants of a path that may both play a part, a condition on a dimension that comes later.
    """

    name: str
    dimensions: tuple[Dimension, ...]
    title: str = ""
    starts: tuple[Mapping[str, Value], ...] = ()

    def __post_init__(self) -> None:
        before: list[Dimension] = []
        paths = [dimension.path for dimension in self.dimensions]
        for dimension in self.dimensions:
            seen = {earlier.path for earlier in before}
            if dimension.name in {earlier.name for earlier in before}:
                raise ValueError(f"{dimension.name}: each dimension may stand once in a space")
            for earlier in before:
                if earlier.path == dimension.path and not _exclude_each_other(earlier, dimension):
                    raise ValueError(f"{dimension.name}: it may play a part beside {earlier.name}; their conditions must differ")
            for condition in dimension.when:
                if condition in paths and condition not in seen:
                    raise ValueError(f"{dimension.name}: its condition names {condition}, which must come before it")
            before.append(dimension)

    def draw(self, suggest: Callable[[str, Domain], Value], base: TrialConfig) -> Assignment:
        """One point: `suggest(name, domain)` is asked for each dimension that plays a part, in order."""
        tree, point = base.to_tree(), Assignment()
        for dimension in self.dimensions:
            if is_active(dimension, point, tree):
                point[dimension.path] = suggest(dimension.name, dimension.domain)
        return point

    def grid(self, base: TrialConfig, num_points: int = GRID_POINTS) -> Iterator[Assignment]:
        """All points of the grid, each once: every choice, and `num_points` values of each range.  Lazy: there may be many."""
        tree = base.to_tree()

        def grow(point: Assignment, rest: tuple[Dimension, ...]) -> Iterator[Assignment]:
            if not rest:
                yield point
            elif is_active(rest[0], point, tree):
                for value in rest[0].domain.grid(num_points):
                    yield from grow({**point, rest[0].path: value}, rest[1:])
            else:
                yield from grow(point, rest[1:])

        return grow({}, self.dimensions)

    def first_points(self, base: TrialConfig) -> list[dict[str, Value]]:
        """What is enqueued before anything is drawn: for each of `starts` names of dimensions and their values.

        Left out are dimensions that play no part, and values outside of their domain (of a space that was made narrower).
        """
        return [start for given in self.starts if (start := self.by_name(given, base))]

    def by_name(self, given: Mapping[str, Value], base: TrialConfig) -> dict[str, Value]:
        """Names of dimensions -> values, as the sampler knows them, of config paths -> values; what plays no part is left out."""
        start: dict[str, Value] = {}
        point: Assignment = {}
        tree = base.to_tree()
        for dimension in self.dimensions:
            value = given.get(dimension.path)
            if value is not None and dimension.domain.contains(value) and is_active(dimension, point, tree):
                start[dimension.name] = point[dimension.path] = value
        return start

    def configure(self, point: Assignment, base: TrialConfig, search_seed: int, number: int) -> TrialConfig:
        """The config of a point.

        Args:
            point: of this space.
            base: the config under it.
            search_seed: of the search.
            number: of the trial; its seed is made of both.
        """
        return base.override({**point, "seed": trial_seed(search_seed, number)})

    def without(self, paths: Iterable[str]) -> "Space":
        """The space with the dimensions taken out that are set by hand (`heads.sst.kind` also takes out `heads.*.kind`)."""
        fixed = tuple(paths)
        kept = tuple(d for d in self.dimensions if not any(_overlap(d.path, path) for path in fixed))
        return replace(self, dimensions=kept)

    def problems(self, base: TrialConfig) -> list[str]:
        """What is wrong with the space on this config: empty, paths that lead nowhere, values that the config refuses."""
        if not self.dimensions:
            return [f"space {self.name}: nothing varies; at least one dimension is needed"]
        misplaced = self._misplaced(base)
        sound = replace(self, dimensions=tuple(d for d in self.dimensions if d.name not in misplaced))
        found = [problem for problems in misplaced.values() for problem in problems] + sound._refused_values(base)
        return [f"space {self.name}: {problem}" for problem in dict.fromkeys(found)]

    def _misplaced(self, base: TrialConfig) -> dict[str, list[str]]:
        """Names of dimensions -> why they never play a part: paths that lead nowhere, a condition that nothing meets."""
        tree = base.to_tree()
        out = {dimension.name: list(self._never_met(dimension)) for dimension in self.dimensions}
        for dimension in self.dimensions:
            for path in (dimension.path, *dimension.when):
                try:
                    values_at(tree, path)
                except ConfigError as error:
                    out[dimension.name] += error.problems
        return {name: problems for name, problems in out.items() if problems}

    def _never_met(self, dimension: Dimension) -> Iterator[str]:
        for path, values in dimension.when.items():
            domains = [d.domain for d in self.dimensions if d.path == path]
            if domains and not any(domain.contains(value) for domain in domains for value in values):
                yield f"{dimension.name}: its condition can never be met: {path} is none of {', '.join(map(str, values))}"

    def _refused_values(self, base: TrialConfig) -> list[str]:
        """Pairs find whatever breaks a rule that binds two values, so each end and each choice meets those of all others."""
        out: dict[str, None] = {}
        values = {d.name: tuple(dict.fromkeys(d.domain.grid(2))) for d in self.dimensions}
        needed = {d.name: _met_conditions(d, self) for d in self.dimensions}
        for point in covering_points(values, needed, lambda suggest: self.draw(suggest, base)):
            try:
                base.override(point)
            except ConfigError as error:
                out.update(dict.fromkeys(error.problems))
        return list(out)

    def to_tree(self) -> dict[str, Any]:
        """The space as plain values, as a YAML file holds it; `parse` gives it back."""
        return {
            "name": self.name,
            "title": self.title,
            "dimensions": {d.name: _dimension_tree(d) for d in self.dimensions},
            **({"starts": [dict(start) for start in self.starts]} if self.starts else {}),
        }

    @classmethod
    def parse(cls, tree: Mapping[str, Any]) -> "Space":
        """The space that a tree of plain values describes.

        Raises:
            ConfigError: unknown keys, broken rules, all at once.
        """
        parsed = parse_part(_SpaceTree, tree)
        dimensions = tuple(entry.build(name) for name, entry in parsed.dimensions.items())
        try:
            return cls(parsed.name, dimensions, parsed.title, parsed.starts)
        except ValueError as error:
            raise ConfigError([f"space {parsed.name}: {error}"]) from None

    @classmethod
    def read(cls, path: Path) -> "Space":
        """The space in a YAML file (`read_part_of`).

        Raises:
            ConfigError: no such file, or a mistake in it; each problem begins with the file's name.
        """
        try:
            return cls.parse({"name": path.stem, **read_part_of(path, "space")})
        except ConfigError as error:
            raise ConfigError(p if p.startswith(str(path)) else f"{path}: {p}" for p in error.problems) from None


class _DimensionTree(Part):
    """One dimension as YAML says it: `{float: [1e-5, 1e-3], log: true}`, `{int: [8, 64]}` or `{choices: [a, b]}`."""

    float_: tuple[float, float] | None = Field(None, alias="float", strict=False)
    int_: tuple[int, int] | None = Field(None, alias="int", strict=False)
    choices: tuple[Value, ...] | None = Field(None, strict=False)
    log: bool = False
    when: dict[str, list[Value]] = Field(default_factory=dict)
    source: str = ""

    @field_validator("choices", mode="before")
    @classmethod
    def _keep_types(cls, choices: Any) -> Any:
        if isinstance(choices, list) and not all(isinstance(c, bool | int | float | str) for c in choices):
            raise ValueError(f"choices must be numbers, words or true/false, but got {choices!r}")
        return choices

    @model_validator(mode="after")
    def _one_domain(self) -> "_DimensionTree":
        given = [
            name for name, value in (("float", self.float_), ("int", self.int_), ("choices", self.choices)) if value is not None
        ]
        if len(given) != 1:
            raise ValueError(f"exactly one of float, int, choices must be given, but got {', '.join(given) or 'none'}")
        self.domain()
        return self

    def domain(self) -> Domain:
        if self.float_ is not None:
            return Float(*self.float_, log=self.log)
        if self.int_ is not None:
            return Int(*self.int_, log=self.log)
        assert self.choices is not None
        return Categorical(self.choices)

    def build(self, name: str) -> Dimension:
        path, _, variant = name.partition("@")
        when = MappingProxyType({path: tuple(values) for path, values in self.when.items()})
        return Dimension(path, self.domain(), when, self.source, variant)


class _SpaceTree(Part):
    name: str = Field(min_length=1)
    title: str = ""
    dimensions: dict[str, _DimensionTree]
    starts: tuple[dict[str, Value], ...] = Field((), strict=False)


def trial_seed(search_seed: int, number: int) -> int:
    """The seed of trial `number`: differs from trial to trial, so that no seed's luck is taken for a config's merit."""
    return (search_seed * 1_000_003 + number) % 2**31


def widened(old: Space, new: Space) -> list[str]:
    """Why a search over `old` cannot go on over `new`; empty where it can.

    Numeric ranges may change their bounds, and dimensions may be added: trials from before lack them, and teach the sampler
    the others alone.  Kinds of domains, their logarithm and the choices of a categorical are fixed,
    because the sampler compares old trials with new ones.
    """
    out = []
    before = {d.name: d.domain for d in old.dimensions}
    for dimension in new.dimensions:
        domain = before.get(dimension.name)
        if domain is None:
            continue
        same_kind = type(domain) is type(dimension.domain) and getattr(domain, "log", None) == getattr(
            dimension.domain, "log", None
        )
        if not same_kind or (isinstance(domain, Categorical) and domain != dimension.domain):
            out.append(
                f"{dimension.name}: only the bounds of a range may change in a search that has begun, "
                f"but got {dimension.domain} after {domain}"
            )
    missing = [name for name in before if name not in {d.name for d in new.dimensions}]
    return out + [f"{name}: a dimension cannot be taken out of a search that has begun" for name in missing]


def _exclude_each_other(one: Dimension, other: Dimension) -> bool:
    """True where some path's values under which the one plays a part are none of the other's."""
    shared = one.when.keys() & other.when.keys()
    return any(not set(one.when[path]) & set(other.when[path]) for path in shared)


def is_active(dimension: Dimension, point: Assignment, tree: dict[str, Any]) -> bool:
    """True where each condition is met, by the point where it has the path, else by the config under it."""
    return all(
        value in values
        for path, values in dimension.when.items()
        for value in ([point[path]] if path in point else values_at(tree, path))
    )


def _met_conditions(dimension: Dimension, space: Space) -> Assignment:
    """Values of other dimensions, by name, under which `dimension` plays a part."""
    out: Assignment = {}
    for path, values in dimension.when.items():
        found = ((d, value) for d in space.dimensions if d.path == path for value in values if d.domain.contains(value))
        if (first := next(found, None)) is not None:
            other, value = first
            out |= {**_met_conditions(other, space), other.name: value}
    return out


def _overlap(one: str, other: str) -> bool:
    """True where two paths, `*` matching any key, may mean the same place or one lies inside the other."""
    return all(a == b or "*" in (a, b) for a, b in zip(one.split("."), other.split("."), strict=False))


def _dimension_tree(dimension: Dimension) -> dict[str, Any]:
    domain = dimension.domain
    if isinstance(domain, Categorical):
        tree: dict[str, Any] = {"choices": list(domain.choices)}
    else:
        tree = {"float" if isinstance(domain, Float) else "int": [domain.low, domain.high], "log": domain.log}
    if dimension.when:
        tree["when"] = {path: list(values) for path, values in dimension.when.items()}
    return {**tree, "source": dimension.source} if dimension.source else tree
