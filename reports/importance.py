"""How much each parameter has to do with being among the best: PED-ANOVA.

Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces"
(https://arxiv.org/abs/2304.10255), in Optuna's form, which knows parameters that play a part under a condition only ("Conditional
PED-ANOVA", https://arxiv.org/abs/2601.20800).  A departure from both: what too few trials had is left out (`too_rare`).
"""

import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from reports.parameters import Point
from search_spaces.domains import Domain
from tuner.drawing import distribution_of

LEAST_TRIALS = 10
LEAST_AMONG_BEST = 3
_LEAST_BEST = _LEAST_WITH = 5
_TOP = 0.1


def importances(points: Sequence[Point], searched_: Mapping[str, Domain]) -> tuple[tuple[str, float], ...]:
    """Path and importance, largest first, together 1; empty of fewer than `LEAST_TRIALS` trials, or where nothing matters.

    It is of being among the best tenth of the trials, of small searches among the best five, as fewer tell too little.  What too
    few had is left out (see `too_rare`).

    Args:
        points: trials with their scores at one budget.
        searched_: path -> what was searched of it.
    """
    if len(points) < LEAST_TRIALS or len({point.score for point in points}) < 2:
        return ()
    rare = too_rare(points, searched_)
    distributions: dict[str, Any] = {path: distribution_of(domain) for path, domain in searched_.items() if path not in rare}
    if not distributions:
        return ()
    with _silent():
        study = optuna.create_study(direction="maximize")
        study.add_trials([_trial(point, distributions) for point in points])
        evaluator = PedAnovaImportanceEvaluator(target_quantile=_top(points))
        found = get_param_importances(study, evaluator=evaluator)
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return tuple((path, float(value)) for path, value in ordered) if any(found.values()) else ()


def too_rare(points: Sequence[Point], paths: Iterable[str]) -> tuple[str, ...]:
    """Of these paths those that fewer than five trials had, or fewer than three of the best.

    The values of one or two trials are a narrow peak, which looks like importance: of 24 trials with scores by chance two
    parameters of fourteen that a quarter of the trials had came first in .33 of the searches (two of fourteen are .14).
    """
    ordered = sorted(points, key=lambda point: -point.score)
    best = ordered[: round(_top(points) * len(points))]
    had, best_had = (Counter(path for point in some for path in point.assignment) for some in (points, best))
    return tuple(path for path in paths if had[path] < _LEAST_WITH or best_had[path] < LEAST_AMONG_BEST)


def _top(points: Sequence[Point]) -> float:
    """The share of the trials that are the best."""
    return max(_TOP, _LEAST_BEST / len(points))


def _trial(point: Point, distributions: Mapping[str, Any]) -> optuna.trial.FrozenTrial:
    own = {path: value for path, value in point.assignment.items() if path in distributions}
    return optuna.trial.create_trial(value=point.score, params=own, distributions={path: distributions[path] for path in own})


@contextmanager
def _silent() -> Iterator[None]:
    """Optuna tells of each study made in memory."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
