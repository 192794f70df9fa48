from typing import Any

import numpy as np
import pytest

from trainables.config import TrialConfig
from trainables.tasks import CS224N, TaskSet
from tuner.card_parts import about_data, about_lineage, errors_on_dev, limits
from tuner.dev_figures import dev_figures

ROWS = {"sst": {"train": 8544, "dev": 1101, "test": 2210}, "qqp": {"train": 5, "dev": 4}, "sts": {"train": 3, "dev": 2}}
LINEAGE = {
    "git_commit": "abc",
    "git_dirty": True,
    "python": "3.11.7",
    "packages": {"torch": "2.13.0", "mlflow": None},
    "hardware": {"num_cpus": 2, "cpu": "EPYC", "memory_gib": 7.8, "gpus": ["H200"], "system": "Linux", "host": "mine"},
}


def config(**changes: Any) -> TrialConfig:
    return TrialConfig().override({path.replace("__", "."): value for path, value in changes.items()})


def test_a_matrix_has_true_labels_in_rows_and_predictions_in_columns() -> None:
    labels = {"sst": np.array([0, 4]), "qqp": np.array([1, 1]), "sts": np.array([1, 2])}
    predictions = {"sst": np.array([3, 4]), "qqp": np.array([0, 1]), "sts": np.array([1.5, 2])}
    metrics = {"score": 0.5, "mean_score": 0.4, "sst_accuracy": 0.5, "qqp_accuracy": 0.5, "sts_pearson": 1.0}
    lines = errors_on_dev(CS224N, dev_figures(CS224N, labels, predictions, metrics))
    for line in (
        "All of dev: score 0.5000.",
        "**SST-5 sentiment**, 2 rows, accuracy 0.5000",
        "| true label, predicted: | 0 | 1 | 2 | 3 | 4 |",
        "|---|---|---|---|---|---|",
        "| 0 (negative sentiment) | 0 | 0 | 0 | 1 | 0 |",
        "| true label, predicted: | 0 | 1 |",
        "| 1 (yes) | 1 | 1 |",
        "**STS-B similarity**, 2 rows, pearson 1.0000",
        "Mean absolute error 0.2500, where labels go from 0 to 5.",
    ):
        assert line in lines, line


def test_many_classes_are_not_shown() -> None:
    task = CS224N.tasks[0].model_copy(update={"num_classes": 21})
    figures = {"score": 0.1, "tasks": {"sst": {"rows": 1, "accuracy": 0.1, "confusion": [[0] * 21] * 21}}}
    lines = errors_on_dev(TaskSet(tasks=(task,)), figures)
    assert "21 classes: `metrics.json` has the confusion matrix." in lines
    assert not any(line.startswith("|") for line in lines)


def test_data_are_told_by_task_and_split_with_their_sums() -> None:
    more = {"data__more_rows": {"sst": ["/data/more.csv"]}, "data__eda__copies": {"qqp": 2}, "data__train_share": {"sts": 0.5}}
    text = "\n".join(about_data(config(data__source="/data", **more), ROWS, 3, {"a.csv": "f" * 64}))
    for part in (
        "`/data`; 3 rows with an empty cell are left out.",
        "| SST-5 sentiment | 8544 | 1101 | 2210 |",
        "| Quora paraphrase | 5 | 4 | none |",
        "further ones from `/data/more.csv` (sst).",
        "changed copies (EDA), 2 of each row of qqp.",
        "Trained on a part of them: 0.5 of sts.",
        f"- `a.csv` {'f' * 64}",
    ):
        assert part in text, part
    parts = {name: {**by_split, "confirm": 7} for name, by_split in ROWS.items()}
    assert "| rows | train | dev, search part | dev, kept part | test |" in about_data(config(), parts, 0, None)
    plain = "\n".join(about_data(config(), ROWS, 0, None))
    assert "| rows | train | dev | test |" in plain
    assert "further" not in plain and "EDA" not in plain and "part of" not in plain and "not recorded" in plain


@pytest.mark.parametrize(
    ("changes", "flags", "words", "absent"),
    [
        ({}, {}, ["English alone", "cut at", "Quora duplicates", "outside the labels' range: STS", "by it"], ["full budget"]),
        ({"encoder__name": "tiny"}, {"is_chosen": False}, ["flatters"], ["Quora duplicates", "by it"]),
        ({}, {}, ["looked at dev at each"], ["part"]),
        ({"data__confirm_share": 0.25}, {}, ["looked at the search part, 75 % of dev, at each", "flatters"], ["kept part"]),
        (
            {"data__confirm_share": 0.25},
            {"confirms": True},
            ["- The kept part, 25 % of dev, is looked at to choose"],
            ["flatters"],
        ),
        ({}, {"has_full_budget": False}, ["did not have its full budget"], []),
        ({"phases": [{"tasks": ["sst"]}]}, {}, ["No example was trained of: Quora paraphrase, STS-B similarity."], []),
    ],
)
def test_limits(changes: dict[str, Any], flags: dict[str, bool], words: list[str], absent: list[str]) -> None:
    text = "\n".join(limits(config(**changes), **{"has_full_budget": True, "is_chosen": True, **flags}))
    assert all(word in text for word in words), text
    assert not any(word in text for word in absent), text


def test_lineage_is_code_packages_machine_encoder_and_seed() -> None:
    text = "\n".join(about_lineage(LINEAGE, seed=7, encoder="tiny", encoder_sha256="ef"))
    for part in (
        "- code: commit abc, with changes that no commit holds",
        "- packages: python==3.11.7 torch==2.13.0\n",
        "- machine: 2 CPUs (EPYC), 7.8 GiB, GPUs H200, Linux",
        "- encoder before training: `tiny`, sha256 of its weights ef",
        "- seed: 7",
    ):
        assert part in text, part
    assert "mine" not in text


def test_what_is_not_known_is_said() -> None:
    text = "\n".join(about_lineage({"packages": "x", "hardware": 3}, seed=None, encoder="tiny", encoder_sha256=None))
    assert text.count("not recorded") == 4
