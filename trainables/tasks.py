"""The three tasks of the CS224N leaderboard, as data.

A task says what a row is (one sentence or two), what is predicted (a class, yes or no, a score) and how predictions are judged.
Readers, heads, losses, metrics, leaderboard and export all read it from here.

Sources: SST-5 (Socher et al. 2013, https://aclanthology.org/D13-1170), Quora Question Pairs, STS-B (Cer et al. 2017,
https://aclanthology.org/S17-2001); the layout of the files is that of Stanford's CS224N default project.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

Target = Literal["classes", "binary", "score"]
Metric = Literal["accuracy", "pearson"]


@dataclass(frozen=True)
class Task:
    """What one task is.

    Attributes:
        name: key of the task everywhere: in configs, metrics, files of the ledger.
        title: what a person calls it.
        sentence_columns: columns of the text, one or two.
        label_column: column of the label.
        target: `classes` (cross-entropy over `num_outputs`), `binary` (one logit), `score` (one real number).
        num_outputs: width of the head's output: number of classes, or 1.
        label_low, label_high: closed range of the labels; integers unless `target` is `score`.
        metric: how predictions are judged.
        file_stem: `{file_stem}-train.csv`, `-dev.csv`, `-test-student.csv` are the task's CS224N files.
        prediction_stem, prediction_header: the CS224N prediction files, spelt as that project spells them.
    """

    name: str
    title: str
    sentence_columns: tuple[str, ...]
    label_column: str
    target: Target
    num_outputs: int
    label_low: float
    label_high: float
    metric: Metric
    file_stem: str
    prediction_stem: str
    prediction_header: str

    @property
    def is_pair(self) -> bool:
        """True where a row holds two sentences."""
        return len(self.sentence_columns) == 2

    @property
    def metric_key(self) -> str:
        """Name of the task's metric in reports, such as `sst_accuracy`."""
        return f"{self.name}_{self.metric}"


SST = Task(
    name="sst",
    title="SST-5 sentiment",
    sentence_columns=("sentence",),
    label_column="sentiment",
    target="classes",
    num_outputs=5,
    label_low=0,
    label_high=4,
    metric="accuracy",
    file_stem="ids-sst",
    prediction_stem="sst",
    prediction_header="Predicted_Sentiment",
)
QQP = Task(
    name="qqp",
    title="Quora paraphrase",
    sentence_columns=("sentence1", "sentence2"),
    label_column="is_duplicate",
    target="binary",
    num_outputs=1,
    label_low=0,
    label_high=1,
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
    num_outputs=1,
    label_low=0,
    label_high=5,
    metric="pearson",
    file_stem="sts",
    prediction_stem="sts",
    prediction_header="Predicted_Similiary",
)

TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in (SST, QQP, STS)})
"""The tasks by name, in the order in which schedules take their turns."""


def leaderboard_score(metrics: Mapping[str, float]) -> float:
    """The leaderboard's score: `(sst_accuracy + qqp_accuracy + (sts_pearson + 1) / 2) / 3`, in [0, 1].

    Source: `studentbert`, section 5.2.

    Raises:
        KeyError: one of the three metrics is missing.
    """
    return (metrics[SST.metric_key] + metrics[QQP.metric_key] + (metrics[STS.metric_key] + 1) / 2) / 3


R = TypeVar("R", bound=Mapping[str, Any])


def best_report(reports: Iterable[R]) -> R | None:
    """The report whose model is a trial's result: the highest `score` among those that saw the largest share of dev.

    A score on part of dev is never held against one on all of it (`dev_share`; 1 where a report does not say).  The first of
    equals; never one whose score is no finite number; None where there is none.
    """
    finite = (report for report in reports if math.isfinite(report["score"]))
    return max(finite, key=lambda report: (report.get("dev_share", 1.0), report["score"]), default=None)


def mean_score(metrics: Mapping[str, float]) -> float:
    """The plain mean of the three metrics, which some tables of `best_fit` print instead of the leaderboard's score."""
    return (metrics[SST.metric_key] + metrics[QQP.metric_key] + metrics[STS.metric_key]) / 3
