"""A report is looked at before it is believed: what a worker sends is only as good as what it trained."""

import math
from collections.abc import Iterable
from typing import Any

from tuner.records import Reason, Report

_NEEDED = ("report", "budget", "score")


def wrong_with(report: Report, metrics: Iterable[str]) -> tuple[Reason, str] | None:
    """Why a trial cannot go on after this report, and in words; None where nothing is wrong with it.

    Args:
        report: as it was sent.
        metrics: keys of the tasks' metrics, which stand in it beside the score.

    Returns:
        `error` where a number is missing or is none; `diverged` where one is not finite: the score, a metric, a loss, the norm of
        the gradient, whatever else was measured.
    """
    where = f"report {report.get('report', '(without a number)')}"
    for key in (*_NEEDED, *metrics):
        if key not in report:
            return "error", f"{where} has no {key}"
        if not _is_number(report[key]):
            return "error", f"{where}: {key} must be a number, but got {report[key]!r}"
    for key in ("score", *(key for key in report if key != "score")):
        if _is_number(report[key]) and not math.isfinite(report[key]):
            return "diverged", f"{key} is {report[key]} at {where}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
