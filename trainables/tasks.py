"""Tasks as data: what a row is (one sentence or two), what is predicted (a class, yes or no, a score), how it is judged.

Readers, heads, losses, metrics, leaderboard and export all read it from here.  The three of the CS224N leaderboard are the
default; a YAML file brings others (`read_tasks`).

Sources: SST-5 (Socher et al. 2013, https://aclanthology.org/D13-1170), Quora Question Pairs, STS-B (Cer et al. 2017,
https://aclanthology.org/S17-2001); the layout of the files is that of Stanford's CS224N default project.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from trainables.formulas import evaluate_formula, names_in
from trainables.parts import ConfigError, Part, nearest, parse_part
from trainables.paths import lines_of, read_yaml

Target = Literal["classes", "binary", "score"]
Metric = Literal["accuracy", "pearson"]

V = TypeVar("V")
_NAME = r"[a-z][a-z0-9_]*"


class Task(Part):
    """What one task is.

    Attributes:
        num_outputs: width of the head's output: number of classes, or 1.
        label_low, label_high: closed range of the labels; integers unless `target` is `score`.
    """

    name: str = Field(pattern=f"^{_NAME}$", max_length=40, description="key of the task everywhere: in configs, metrics, files")
    title: str = Field(min_length=1, description="what a person calls it")
    sentence_columns: tuple[str, ...] = Field(strict=False, min_length=1, max_length=2, description="columns of the text")
    label_column: str = Field(min_length=1, description="column of the label")
    target: Target = Field(
        description="`classes` (cross-entropy over `num_classes`), `binary` (yes or no, one logit), `score` (one real number)"
    )
    num_classes: int | None = Field(None, ge=2, le=1000, description="of target `classes`; their labels are 0, 1, ...")
    label_range: tuple[float, float] | None = Field(None, strict=False, description="lowest and highest label of target `score`")
    metric: Metric = Field(description="`accuracy` for classes and binary, `pearson` for scores")
    file_stem: str = Field(
        pattern=r"^[\w.-]+$", description="its files are `{file_stem}-train.csv`, `-dev.csv` and, where there is one, a test file"
    )
    id_column: str | None = Field("id", min_length=1, description="names the rows; null: they are numbered")
    separator: Literal["tab", "comma"] = Field("tab", description="between the columns of its files")
    prediction_stem: str = Field("", pattern=r"^[\w.-]*$", description="of its prediction files; empty: the task's name")
    prediction_header: str = Field("Predicted", min_length=1, description="heading of the predictions in them")

    @model_validator(mode="after")
    def _labels_fit_the_target(self) -> "Task":
        problems, target = [], self.target
        if (self.num_classes is not None) != (target == "classes"):
            problems.append(f"num_classes is for target=classes, and needed there, but got {target}, {self.num_classes}")
        if (self.label_range is not None) != (target == "score"):
            problems.append(f"label_range is for target=score, and needed there, but got {target}, {self.label_range}")
        if self.label_range is not None and not self.label_range[0] < self.label_range[1]:
            problems.append(f"label_range must hold a lower and a higher number, but got {list(self.label_range)}")
        if (self.metric == "pearson") != (target == "score"):
            problems.append(f"metric must be pearson for target=score, accuracy otherwise, but got {target}, {self.metric}")
        columns = [*self.sentence_columns, self.label_column, *([self.id_column] if self.id_column else [])]
        if len(set(columns)) < len(columns):
            problems.append(f"each column may stand once, but got {', '.join(columns)}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def num_outputs(self) -> int:
        """Width of the head's output."""
        return self.num_classes or 1

    @property
    def label_low(self) -> float:
        """The lowest label."""
        return self.label_range[0] if self.label_range else 0

    @property
    def label_high(self) -> float:
        """The highest label."""
        return self.label_range[1] if self.label_range else max(1, self.num_outputs - 1)

    @property
    def is_pair(self) -> bool:
        """True where a row holds two sentences."""
        return len(self.sentence_columns) == 2

    @property
    def prediction_name(self) -> str:
        """What its prediction files' names begin with."""
        return self.prediction_stem or self.name

    @property
    def metric_key(self) -> str:
        """Name of the task's metric in reports, such as `sst_accuracy`."""
        return f"{self.name}_{self.metric}"


class TaskSet(Part):
    """The tasks that a search is about, and how their metrics make one score.

    Attributes:
        tasks: in the order in which schedules take their turns; where they are read, `sst`, `qqp` or `sts` stands for that task.
        score: formula over the tasks' metric keys; what is searched.
    """

    tasks: tuple[Task, ...] = Field(strict=False, min_length=1, description="in the order in which they take their turns")
    score: str = Field(
        "", description="formula over metrics such as sst_accuracy; empty: the mean, Pearson r taken as (r + 1) / 2"
    )

    @field_validator("tasks", mode="before")
    @classmethod
    def _known_by_name(cls, tasks: Any) -> Any:
        if not isinstance(tasks, list | tuple):
            return tasks
        known = {task.name: task for task in (SST, QQP, STS)}
        unknown = [task for task in tasks if isinstance(task, str) and task not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no known task{nearest(unknown[0], known)}; known are {', '.join(known)}")
        return [known[task] if isinstance(task, str) else task for task in tasks]

    @model_validator(mode="after")
    def _names_differ_and_the_formula_knows_them(self) -> "TaskSet":
        problems = []
        for what in ("name", "file_stem", "prediction_name"):
            values = Counter(getattr(task, what) for task in self.tasks)
            problems += [
                f"each task needs a {what} of its own, but got {value} {n} times" for value, n in values.items() if n > 1
            ]
        keys = [task.metric_key for task in self.tasks]
        if self.score:
            problems += _problems_of_score(self.score, keys)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def by_name(self) -> Mapping[str, Task]:
        """The tasks by name, in their order."""
        return MappingProxyType({task.name: task for task in self.tasks})

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks' names, in their order."""
        return tuple(task.name for task in self.tasks)

    @property
    def formula(self) -> str:
        """The formula of the score."""
        terms = [f"({task.metric_key} + 1) / 2" if task.metric == "pearson" else task.metric_key for task in self.tasks]
        return self.score or f"({' + '.join(terms)}) / {len(terms)}"

    def score_of(self, metrics: Mapping[str, V]) -> V:
        """The score of a report: what is searched; of arrays of metrics an array.

        Raises:
            KeyError: a metric that the formula reads is missing.
        """
        return evaluate_formula(self.formula, metrics)

    def mean_of(self, metrics: Mapping[str, float]) -> float:
        """The plain mean of the metrics, which some tables of `best_fit` print instead of the leaderboard's score."""
        return sum(metrics[task.metric_key] for task in self.tasks) / len(self.tasks)


def _problems_of_score(formula: str, keys: list[str]) -> list[str]:
    try:
        names = names_in(formula)
    except ValueError as error:
        return [f"score: {error}"]
    unknown = [name for name in names if name not in keys]
    if not names:
        return [f"score must read a metric, but got {formula!r}"]
    return [f"score: {name!r} is no metric{nearest(name, keys)}; metrics are {', '.join(keys)}" for name in unknown]


SST = Task(
    name="sst",
    title="SST-5 sentiment",
    sentence_columns=("sentence",),
    label_column="sentiment",
    target="classes",
    num_classes=5,
    metric="accuracy",
    file_stem="ids-sst",
    prediction_header="Predicted_Sentiment",
)
QQP = Task(
    name="qqp",
    title="Quora paraphrase",
    sentence_columns=("sentence1", "sentence2"),
    label_column="is_duplicate",
    target="binary",
    metric="accuracy",
    file_stem="quora",
    prediction_stem="para",
    prediction_header="Predicted_Is_Paraphrase",
)
STS = Task(
    name="sts",
    title="STS-B similarity",
    sentence_columns=("sentence1", "sentence2"),
    label_column="similarity",
    target="score",
    label_range=(0.0, 5.0),
    metric="pearson",
    file_stem="sts",
    prediction_header="Predicted_Similiary",
)

CS224N = TaskSet(tasks=(SST, QQP, STS), score="(sst_accuracy + qqp_accuracy + (sts_pearson + 1) / 2) / 3")
"""The leaderboard's three tasks and its score, in [0, 1] (`studentbert`, section 5.2)."""

SENTIMENT_NAMES = (
    "negative_sentiment",
    "somewhat_negative_sentiment",
    "neutral_sentiment",
    "somewhat_positive_sentiment",
    "positive_sentiment",
)
"""What best_fit 4.6.2 calls the five labels of SST."""

CS224N_NAME = "cs224n"


def class_names(task: Task) -> tuple[str, ...]:
    """What people call the classes of a task, in their order; empty where that is not known."""
    return SENTIMENT_NAMES if task == SST else ()


def read_tasks(path: Path) -> TaskSet:
    """The tasks in a YAML file: `tasks`, a list of what `Task` describes, and `score`.

    Raises:
        ConfigError: no such file, no YAML, or mistakes in it, each with the file's name and the line it is on.
    """
    try:
        return parse_part(TaskSet, read_yaml(path))
    except ConfigError as error:
        problems = error.problems
    raise ConfigError(problem if problem.startswith(str(path)) else _with_line(path, problem) for problem in problems)


def _with_line(path: Path, problem: str) -> str:
    """A problem `tasks.1.metric: rule` with the file and the line of the innermost place in it that exists."""
    place, lines = problem.partition(": ")[0], lines_of(path)
    while place and place not in lines:
        place = place.rpartition(".")[0]
    return f"{path} line {lines.get(place, 1)}: {problem}"


R = TypeVar("R", bound=Mapping[str, Any])


def best_report(reports: Iterable[R]) -> R | None:
    """The report whose model is a trial's result: the highest `score` among those that saw the largest share of dev.

    A score on part of dev is never held against one on all of it (`dev_share`; 1 where a report does not say).  The first of
    equals; never one whose score is no finite number; None where there is none.
    """
    finite = (report for report in reports if math.isfinite(report["score"]))
    return max(finite, key=lambda report: (report.get("dev_share", 1.0), report["score"]), default=None)
