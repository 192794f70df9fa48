import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.tasks import QQP, SST, STS, TASKS, best_report, leaderboard_score, mean_score

METRICS = st.fixed_dictionaries(
    {"sst_accuracy": st.floats(0, 1), "qqp_accuracy": st.floats(0, 1), "sts_pearson": st.floats(-1, 1), "loss": st.floats()}
)


@given(METRICS)
def test_the_leaderboards_score_lies_between_0_and_1_and_grows_with_each_metric(metrics: dict[str, float]) -> None:
    score = leaderboard_score(metrics)
    assert 0 <= score <= 1
    for task in TASKS.values():
        assert leaderboard_score({**metrics, task.metric_key: 1.0}) >= score
        assert mean_score({**metrics, task.metric_key: 1.0}) >= mean_score(metrics)


def test_scores_of_some_metrics() -> None:
    metrics = {"sst_accuracy": 0.5, "qqp_accuracy": 0.8, "sts_pearson": 0.6}
    assert leaderboard_score(metrics) == pytest.approx((0.5 + 0.8 + 0.8) / 3)
    assert mean_score(metrics) == pytest.approx(1.9 / 3)
    assert leaderboard_score({"sst_accuracy": 1, "qqp_accuracy": 1, "sts_pearson": 1}) == 1
    assert leaderboard_score({"sst_accuracy": 0, "qqp_accuracy": 0, "sts_pearson": -1}) == 0


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
        leaderboard_score({"sst_accuracy": 0.5, "qqp_accuracy": 0.8})


def test_the_tasks_are_what_the_leaderboard_says() -> None:
    assert list(TASKS) == ["sst", "qqp", "sts"]
    assert [task.metric_key for task in TASKS.values()] == ["sst_accuracy", "qqp_accuracy", "sts_pearson"]
    assert [task.is_pair for task in TASKS.values()] == [False, True, True]
    assert [(task.label_low, task.label_high) for task in TASKS.values()] == [(0, 4), (0, 1), (0, 5)]
    assert [task.num_outputs for task in TASKS.values()] == [5, 1, 1]
    assert (SST.target, QQP.target, STS.target) == ("classes", "binary", "score")


def test_nobody_can_change_a_task() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SST.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        TASKS["other"] = SST  # type: ignore[index]
