import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.parts import ConfigError, parse_part
from trainables.tasks import CS224N, QQP, SST, STS, TaskSet, best_report, read_tasks

METRICS = st.fixed_dictionaries(
    {"sst_accuracy": st.floats(0, 1), "qqp_accuracy": st.floats(0, 1), "sts_pearson": st.floats(-1, 1), "loss": st.floats()}
)


@given(METRICS)
def test_the_leaderboards_score_lies_between_0_and_1_and_grows_with_each_metric(metrics: dict[str, float]) -> None:
    score = CS224N.score_of(metrics)
    assert 0 <= score <= 1
    for task in CS224N.tasks:
        assert CS224N.score_of({**metrics, task.metric_key: 1.0}) >= score
        assert CS224N.mean_of({**metrics, task.metric_key: 1.0}) >= CS224N.mean_of(metrics)


def test_scores_of_some_metrics() -> None:
    metrics = {"sst_accuracy": 0.5, "qqp_accuracy": 0.8, "sts_pearson": 0.6}
    assert CS224N.score_of(metrics) == pytest.approx((0.5 + 0.8 + 0.8) / 3)
    assert CS224N.mean_of(metrics) == pytest.approx(1.9 / 3)
    assert CS224N.score_of({"sst_accuracy": 1, "qqp_accuracy": 1, "sts_pearson": 1}) == 1
    assert CS224N.score_of({"sst_accuracy": 0, "qqp_accuracy": 0, "sts_pearson": -1}) == 0


REPORTS = st.lists(
    st.fixed_dictionaries(
        {"score": st.floats(0, 1) | st.sampled_from([math.nan, math.inf, -math.inf])},
        optional={"dev_share": st.sampled_from([0.25, 0.5, 1.0])},
    ),
    max_size=6,
)


@given(REPORTS)
def test_the_best_report_is_the_first_of_the_best_on_the_largest_share_of_dev(reports: list[dict[str, Any]]) -> None:
    keys = [(report.get("dev_share", 1.0), report["score"]) for report in reports if math.isfinite(report["score"])]
    best = best_report(reports)
    if not keys:
        assert best is None
        return
    all_keys = [(report.get("dev_share", 1.0), report["score"]) for report in reports]
    assert best is reports[all_keys.index(max(keys))]


def test_a_score_on_part_of_dev_never_beats_one_on_all_of_it() -> None:
    reports = [{"score": 0.9, "dev_share": 0.25}, {"score": 0.5, "dev_share": 1.0}, {"score": math.nan, "dev_share": 1.0}]
    assert best_report(reports) is reports[1]
    assert best_report(reports[::2]) is reports[0]


def test_a_missing_metric_is_named() -> None:
    with pytest.raises(KeyError, match="sts_pearson"):
        CS224N.score_of({"sst_accuracy": 0.5, "qqp_accuracy": 0.8})


def test_the_tasks_are_what_the_leaderboard_says() -> None:
    assert list(CS224N.by_name) == ["sst", "qqp", "sts"]
    assert [task.metric_key for task in CS224N.tasks] == ["sst_accuracy", "qqp_accuracy", "sts_pearson"]
    assert [task.is_pair for task in CS224N.tasks] == [False, True, True]
    assert [(task.label_low, task.label_high) for task in CS224N.tasks] == [(0, 4), (0, 1), (0, 5)]
    assert [task.num_outputs for task in CS224N.tasks] == [5, 1, 1]
    assert (SST.target, QQP.target, STS.target) == ("classes", "binary", "score")


def test_nobody_can_change_a_task() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SST.name = "other"
    with pytest.raises(TypeError):
        CS224N.by_name["other"] = SST  # type: ignore[index]


TASK = {
    "name": "cfimdb",
    "title": "CFIMDB",
    "sentence_columns": ["sentence"],
    "label_column": "sentiment",
    "target": "binary",
    "metric": "accuracy",
    "file_stem": "ids-cfimdb",
}


def problems_of(tree: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse_part(TaskSet, tree)
    return error.value.problems


def test_tasks_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump({"tasks": [SST.model_dump(mode="json"), TASK]}), encoding="utf-8")
    tasks = read_tasks(tmp_path / "tasks.yaml")
    assert tasks.names == ("sst", "cfimdb")
    assert tasks.tasks[0] == SST
    assert (tasks.by_name["cfimdb"].num_outputs, tasks.by_name["cfimdb"].prediction_name) == (1, "cfimdb")
    assert tasks.score_of({"sst_accuracy": 0.5, "cfimdb_accuracy": 0.9}) == pytest.approx(0.7)


def test_known_tasks_go_by_their_names() -> None:
    tasks = parse_part(TaskSet, {"tasks": ["sts", TASK, "sst"]})
    assert tasks.names == ("sts", "cfimdb", "sst")
    assert (tasks.tasks[0], tasks.tasks[2]) == (STS, SST)
    [unknown] = problems_of({"tasks": ["sstx"]})
    assert unknown == "tasks: 'sstx' is no known task (did you mean sst?); known are sst, qqp, sts"


def test_a_score_that_is_not_given_takes_correlations_to_0_and_1() -> None:
    tasks = TaskSet(tasks=CS224N.tasks)
    metrics = {"sst_accuracy": 0.5, "qqp_accuracy": 0.8, "sts_pearson": 0.6}
    assert tasks.score_of(metrics) == pytest.approx(CS224N.score_of(metrics))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"metric": "pearson"}, "metric must be pearson for target=score, accuracy otherwise"),
        ({"num_classes": 3}, "num_classes is for target=classes"),
        ({"target": "classes"}, "num_classes is for target=classes, and needed there, but got classes, None"),
        ({"target": "score", "metric": "pearson"}, "label_range is for target=score, and needed there"),
        ({"target": "score", "metric": "pearson", "label_range": [5, 0]}, "a lower and a higher number"),
        ({"label_column": "sentence"}, "each column may stand once"),
        ({"name": "Big Name"}, "tasks.0.name"),
        ({"sentence_columns": ["a", "b", "c"]}, "tasks.0.sentence_columns"),
        ({"file_stem": "../x"}, "tasks.0.file_stem"),
        ({"metrik": "f1"}, "unknown key (did you mean metric?)"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(change: dict[str, Any], problem: str) -> None:
    [found] = problems_of({"tasks": [{**TASK, **change}]})
    assert found.startswith("tasks.0")
    assert problem in found


def test_tasks_must_differ_and_the_score_must_know_them() -> None:
    [twice] = problems_of({"tasks": [TASK, {**TASK, "name": "other"}]})
    assert "each task needs a file_stem of its own, but got ids-cfimdb 2 times" in twice
    [unknown] = problems_of({"tasks": [TASK], "score": "cfimdb_acuracy / 2"})
    assert "'cfimdb_acuracy' is no metric (did you mean cfimdb_accuracy?)" in unknown
    [constant] = problems_of({"tasks": [TASK], "score": "1"})
    assert "score must read a metric" in constant
    [code] = problems_of({"tasks": [TASK], "score": "open('x')"})
    assert "must stand here" in code


def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(
        "score: a_accuracy\ntasks:\n- name: a\n  title: A\n  sentence_columns: [t]\n  label_column: l\n"
        "  target: binary\n  metric: acuracy\n  file_stem: a\n- name: b\n  title: B\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as error:
        read_tasks(path)
    assert [problem.split(": ")[0] for problem in error.value.problems[:2]] == [f"{path} line 8", f"{path} line 10"]
    assert all(problem.startswith(f"{path} line 10: tasks.1.") for problem in error.value.problems[1:])
    path.write_text("tasks:\n- sst\nscore: max(sst_accuracy)\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tasks.yaml line 3: score: "):
        read_tasks(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_tasks(tmp_path / "none.yaml")
