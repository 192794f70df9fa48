import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.large_ledger import new_report
from tuner.report_check import wrong_with

METRICS = ("sst_accuracy", "qqp_accuracy", "sts_pearson")
GOOD = {**new_report(2, 0.5), "applied": {"num_threads": 1, "lr": math.nan}}
MEASURED = [key for key, value in GOOD.items() if isinstance(value, float)]
NEEDED = ("report", "budget", "score", *METRICS)


@given(st.dictionaries(st.sampled_from(MEASURED), st.floats(allow_nan=False, allow_infinity=False)))
def test_finite_numbers_are_believed(values: dict[str, float]) -> None:
    assert wrong_with({**GOOD, **values}, METRICS) is None


@given(st.sampled_from(MEASURED), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_whatever_is_not_finite_is_found_beside_a_finite_score(key: str, value: float) -> None:
    assert wrong_with({**GOOD, key: value}, METRICS) == ("diverged", f"{key} is {value} at report 2")


@given(st.sampled_from(NEEDED), st.sampled_from([None, "0.5", True, [0.5], {}]))
def test_what_is_missing_or_no_number_is_named(key: str, value: Any) -> None:
    missing, other = wrong_with({k: v for k, v in GOOD.items() if k != key}, METRICS), wrong_with({**GOOD, key: value}, METRICS)
    assert missing is not None and other is not None
    assert missing[0] == other[0] == "error"
    assert missing[1].endswith(f"has no {key}")
    assert f"{key} must be a number, but got {value!r}" in other[1]


@pytest.mark.parametrize(
    ("report", "detail"),
    [({}, "report (without a number) has no report"), ({"report": 3, "budget": 30}, "report 3 has no score")],
)
def test_reports_of_nothing(report: dict[str, Any], detail: str) -> None:
    assert wrong_with(report, METRICS) == ("error", detail)


def test_the_score_is_named_first() -> None:
    assert wrong_with({**GOOD, "loss": math.nan, "score": math.nan}, METRICS) == ("diverged", "score is nan at report 2")
