"""A results table as data: what each of its rows trained, what was printed, and the space that a search over its rows has."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from search_spaces.domains import Categorical, Int
from search_spaces.space import Assignment, Dimension, Space, trial_seed
from trainables.config import TrialConfig
from trainables.config_parts import TEACHER_ROW
from trainables.parts import ConfigError, Part, parse_part
from trainables.paths import assign
from trainables.tasks import CS224N, TaskSet

ROW, SEED = "row", "seed_number"
"""The dimensions of a study: which row of the table, and which of its repetitions."""
_TEACHERS = "objective.distill.teachers"
_CLOSED = ConfigDict(extra="forbid")


@checked_dataclass(frozen=True, config=_CLOSED)
class StudyRow:
    """One row of a table.

    Attributes:
        name: in commands and in the ledger.
        title: as the paper prints it.
        settings: config path -> value, over the study's; whole lists (`phases`) may stand.
        printed: metric -> figure on dev, such as `sst_accuracy`; `overall` for the paper's last column; empty for a row that only
            teaches others.
        examples: training examples that the paper's run saw, in all its phases; None where the paper does not say.
        part: share of the study's budget, where the paper does not say how many examples but that they are fewer.
        teachers: task -> name of the row before it whose model teaches it.
    """

    name: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    printed: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    examples: int | None = None
    part: float = 1.0
    teachers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@checked_dataclass(frozen=True, config=_CLOSED)
class Study:
    """A table of a paper.

    Attributes:
        name: `paper.table`, as `--study` takes it.
        title: what it compares.
        section: where it stands.
        rows: in the paper's order, but teachers before their students.
        settings: config path -> value, of all rows.
        overall: the metric that the paper's last column is.
        tasks: that the table is about.
        departures: what differs from the paper, beside the encoder and the data: a sentence each.
        full_examples: that the longest row of the whole table saw; None: of these rows.

    Raises:
        ValueError: a name twice, or a teacher that does not stand before its student.
    """

    name: str
    title: str
    section: str
    rows: tuple[StudyRow, ...]
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    overall: str = "score"
    tasks: TaskSet = CS224N
    departures: tuple[str, ...] = ()
    full_examples: int | None = None

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for row in self.rows:
            if row.name in seen:
                raise ValueError(f"{self.name}: row {row.name} stands twice")
            for teacher in row.teachers.values():
                if teacher not in seen:
                    raise ValueError(f"{self.name}: row {row.name}: its teacher {teacher} must stand before it")
            seen.add(row.name)

    @property
    def by_name(self) -> dict[str, StudyRow]:
        """The rows by their names."""
        return {row.name: row for row in self.rows}

    @property
    def longest(self) -> int | None:
        """Training examples that the paper's longest row saw, in the whole table; None where it does not say."""
        return self.full_examples or max((row.examples for row in self.rows if row.examples), default=None)

    def share(self, row: StudyRow) -> float:
        """Examples of a row over those of the longest one, as in the paper; the row's `part` where the paper does not say."""
        return row.examples / self.longest if row.examples and self.longest else row.part

    def config(self, row: StudyRow, base: TrialConfig, by_hand: Mapping[str, Any] = MappingProxyType({})) -> TrialConfig:
        """The whole config of a row; teachers that are rows themselves stand in it as `row:NAME`.

        Args:
            row: of this study.
            base: tasks, data, encoder, and the budget of the longest row.
            by_hand: config path -> value that holds in every row, whatever the row says.

        Raises:
            ConfigError: the row's settings do not fit.
        """
        teachers = {f"{_TEACHERS}.{task}": f"{TEACHER_ROW}{name}" for task, name in row.teachers.items()}
        settings = {**self.settings, **row.settings, **teachers}
        if base.budget_examples is not None:
            settings["budget_examples"] = max(base.num_reports, self._examples(row, base.budget_examples))
        config = TrialConfig.parse(assign(base.to_tree(), settings))
        return config.override({path: value for path, value in by_hand.items() if path != "budget_examples"})

    def too_small(self, base: TrialConfig) -> list[str]:
        """A sentence for each row whose share of the budget is less than an example a report, with a budget that is enough."""
        longest, out = base.budget_examples, []
        for row in self.rows:
            if longest is not None and (examples := self._examples(row, longest)) < base.num_reports:
                got = f"num_reports <= its share of the examples must hold, but got {base.num_reports} and {examples}"
                enough = math.ceil(base.num_reports / self.share(row))
                out.append(f"study {self.name}: row {row.name}: {got}; --budget {enough} is enough")
        return out

    def _examples(self, row: StudyRow, longest: int) -> int:
        return round(longest * self.share(row))

    def only(self, names: Iterable[str]) -> "Study":
        """The study with some of its rows, and those that teach them; each row's config is what it is in the whole table.

        Raises:
            ConfigError: there is no such row.
        """
        wanted = set(names)
        unknown = [name for name in sorted(wanted) if name not in self.by_name]
        if unknown:
            raise ConfigError(
                f"--rows: {name!r} is no row of {self.name}; rows are {', '.join(self.by_name)}" for name in unknown
            )
        for row in reversed(self.rows):
            if row.name in wanted:
                wanted |= set(row.teachers.values())
        return replace(self, rows=tuple(row for row in self.rows if row.name in wanted), full_examples=self.longest)


@dataclass(frozen=True)
class StudySpace(Space):
    """A study as a space: its points are rows and numbers of seeds, and a point's config is the row's.

    Rows of the same seed number share their seed, so that they start alike.

    Attributes:
        study: whose rows.
        num_seeds: how often each row is trained.
        by_hand: config path -> value that holds in every row.
    """

    study: Study = field(kw_only=True)
    num_seeds: int = field(kw_only=True)
    by_hand: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), kw_only=True)

    def grid(self, base: TrialConfig, num_points: int = 0) -> Iterator[Assignment]:  # noqa: ARG002 - a study has all its points
        """All rows with the first seed, then with the next; teachers before their students."""
        return ({SEED: number, ROW: row.name} for number in range(self.num_seeds) for row in self.study.rows)

    def configure(self, point: Assignment, base: TrialConfig, search_seed: int, number: int) -> TrialConfig:  # noqa: ARG002
        """The config of the point's row, with the seed of its seed number."""
        row = self.study.by_name[str(point[ROW])]
        config = self.study.config(row, base, self.by_hand)
        return config.override({"seed": trial_seed(search_seed, int(point[SEED]))})

    def configs(self, base: TrialConfig) -> Iterator[tuple[StudyRow, TrialConfig]]:
        """Each row with its config.

        Raises:
            ConfigError: at the first row that does not fit.
        """
        return ((row, self.study.config(row, base, self.by_hand)) for row in self.study.rows)

    def problems(self, base: TrialConfig) -> list[str]:
        """What is wrong with the rows on this config."""
        out = []
        for row in self.study.rows:
            try:
                self.study.config(row, base, self.by_hand)
            except ConfigError as error:
                out += [f"study {self.study.name}: row {row.name}: {problem}" for problem in error.problems]
        return out

    def to_tree(self) -> dict[str, Any]:
        """The study as plain values, whole: a ledger knows its rows whatever a later version's tables say."""
        study = self.study
        tree = {key: _plain(value) for key, value in vars(study).items() if key not in ("rows", "tasks")}
        tree["rows"] = [_plain(vars(row)) for row in study.rows]
        tree["tasks"] = study.tasks.model_dump(mode="json")
        return {"study": tree, "num_seeds": self.num_seeds, "by_hand": _plain(self.by_hand)}


def study_space(study: Study, num_seeds: int, by_hand: Mapping[str, Any] = MappingProxyType({})) -> StudySpace:
    """The space of a study's rows, each trained with so many seeds."""
    rows = Categorical(tuple(row.name for row in study.rows))
    dimensions = (Dimension(SEED, Int(0, num_seeds - 1)), Dimension(ROW, rows, source=study.section))
    return StudySpace(study.name, dimensions, study.title, study=study, num_seeds=num_seeds, by_hand=by_hand)


def without_teacher_rows(config: TrialConfig) -> TrialConfig:
    """A row's config without the teachers that are rows themselves, whose models are not there yet."""
    teachers = config.objective.distill.teachers
    rows = [task for task, name in teachers.items() if name is not None and name.startswith(TEACHER_ROW)]
    return config.override({f"{_TEACHERS}.{task}": None for task in rows})


def parse_space(tree: Mapping[str, Any]) -> Space:
    """The space or study that a tree of plain values describes, as a ledger holds it.

    Raises:
        ConfigError: unknown keys, broken rules, all at once.
    """
    if "study" not in tree:
        return Space.parse(tree)
    parsed = parse_part(_StudySpaceTree, tree)
    return study_space(parsed.study, parsed.num_seeds, parsed.by_hand)


class _StudySpaceTree(Part):
    study: Study
    num_seeds: int = Field(ge=1)
    by_hand: dict[str, Any]


def _plain(value: Any) -> Any:
    """Mappings and tuples as dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
