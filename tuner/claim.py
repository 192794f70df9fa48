"""The proof of a winner: what configs come to that were trained again with several seeds, with intervals, and what may be said.

A score is uncertain for two reasons: dev is a sample of rows, and a seed is one draw of many.  Rows are the same for all
configs, so that the first part of the noise is shared and largely cancels in a difference; it is taken from a paired bootstrap
over rows (Efron & Tibshirani 1993; for test sets of language tasks Koehn 2004, https://aclanthology.org/W04-3250).  Seeds are
each config's own; their spread is pooled over all configs, for two or three seeds tell little of one.

    error of mean_c = a_c + s_c,   a ~ N(0, A),   s_c ~ N(0, S / n_c)

`A` is the covariance over resamples of the rows between different trainings of two configs, and so free of what is one training's
own; the variance between seeds `S` holds that.  S is drawn from what the pooled spread says of it (scaled inverse chi-squared,
which makes s Student's t).  Resampling rows and seeds at once, each for itself, counts a training's own noise on each row three
times (Owen 2007, "The pigeonhole bootstrap", https://doi.org/10.1214/07-AOAS122) and so makes intervals too wide.

The winner was chosen among several for its mean.  The lower limit of its gain over the reference therefore holds for the best of
all of them at once (as Dunnett 1955).  It is what a claim hangs on, so that it has 4.5 of the interval's 5 points, the upper 0.5.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainables.outcomes import Outcome
from trainables.tasks import TaskSet

NUM_RESAMPLES = 2000
CONFIDENCE, LOWER_TAIL, UPPER_TAIL = 0.95, 0.045, 0.005
_NUM_DRAWS = 20_000
_SEED = 19_550_101
_WEIGHTS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Repeats:
    """A config that was trained again.

    Attributes:
        name: of the config.
        outcomes: of each training, by task; the same rows in the same order in all of them.
    """

    name: Hashable
    outcomes: tuple[Mapping[str, Outcome], ...]


@dataclass(frozen=True)
class Estimate:
    """What a config comes to.

    Attributes:
        name: of the config.
        scores: of each training.
        mean: of the scores.
        spread: standard deviation between its seeds; None of one seed.
        low, high: 95 % interval of the mean over rows and, of two seeds and more, over seeds.
        probability_best: that no other config's true mean is higher.
        gain: over the reference's mean; 0 of the reference itself.
        gain_low, gain_high: 95 % interval of the gain; the lower limit holds for all configs at once.
    """

    name: Hashable
    scores: tuple[float, ...]
    mean: float
    spread: float | None
    low: float
    high: float
    probability_best: float
    gain: float
    gain_low: float
    gain_high: float

    @property
    def is_better(self) -> bool:
        """Whether it may be said that it is better than the reference."""
        return self.gain_low > 0


def estimates(
    repeats: Sequence[Repeats], reference: Hashable, tasks: TaskSet, *, num_resamples: int = NUM_RESAMPLES
) -> list[Estimate]:
    """What each config comes to, the best mean first, of equals the reference.

    Args:
        repeats: all configs, the reference among them, each trained at least once.
        reference: its name.
        tasks: whose formula makes the score.
        num_resamples: of the rows.

    Raises:
        ValueError: two trainings were judged on other rows.
    """
    _check_rows(repeats, tasks)
    trainings = [outcome for config in repeats for outcome in config.outcomes]
    owner = np.repeat(np.arange(len(repeats)), [len(config.outcomes) for config in repeats])
    scores = _scores(trainings, tasks, None)[:, 0]
    means = np.bincount(owner, scores) / np.bincount(owner)
    at = next(index for index, config in enumerate(repeats) if config.name == reference)
    limits = _Limits(_errors(scores, _scores(trainings, tasks, num_resamples), owner), at)
    best = limits.probability_best(means)
    order = sorted(range(len(repeats)), key=lambda index: (-means[index], index != at, index))
    return [_estimate(repeats[i], i, scores[owner == i], means, limits=limits, probability_best=best[i]) for i in order]


def _estimate(
    config: Repeats, index: int, scores: np.ndarray, means: np.ndarray, *, limits: "_Limits", probability_best: float
) -> Estimate:
    half, gain = limits.half_width(index), float(means[index] - means[limits.reference])
    below, above = limits.below_and_above(index)
    return Estimate(
        name=config.name,
        scores=tuple(scores.tolist()),
        mean=float(means[index]),
        spread=float(scores.std(ddof=1)) if len(scores) > 1 else None,
        low=float(means[index] - half),
        high=float(means[index] + half),
        probability_best=probability_best,
        gain=gain,
        gain_low=gain - below,
        gain_high=gain + above,
    )


class _Limits:
    """How far means and gains may be off, by draws of the errors of all means.

    Args:
        errors: `[num_draws, num_configs]`.
        reference: number of the reference.
    """

    def __init__(self, errors: np.ndarray, reference: int) -> None:
        self.reference, self._errors = reference, errors
        self._gains = errors - errors[:, [reference]]
        self._scale = self._gains.std(axis=0)
        others = np.flatnonzero(self._scale)
        largest = (self._gains[:, others] / self._scale[others]).max(axis=1) if len(others) else np.zeros(1)
        self._all_at_once = float(np.quantile(largest, 1 - LOWER_TAIL))

    def half_width(self, index: int) -> float:
        """Of the interval of a mean."""
        return float(np.quantile(np.abs(self._errors[:, index]), CONFIDENCE))

    def below_and_above(self, index: int) -> tuple[float, float]:
        """How far the limits of a gain lie from it; 0 of the reference's own."""
        above = -np.quantile(self._gains[:, index], UPPER_TAIL)
        return self._all_at_once * float(self._scale[index]), float(above)

    def probability_best(self, means: np.ndarray) -> list[float]:
        """Of each config, that its true mean is the highest."""
        best = (means - self._errors).argmax(axis=1)
        return list((np.bincount(best, minlength=len(means)) / len(best)).tolist())


def _errors(scores: np.ndarray, resampled: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Draws of how far each mean is off, `[num_draws, num_configs]`."""
    rng, counts = np.random.default_rng(_SEED), np.bincount(owner)
    values, vectors = np.linalg.eigh(_over_rows(resampled, owner))
    of_rows: np.ndarray = rng.standard_normal((_NUM_DRAWS, len(counts))) @ (vectors * np.sqrt(np.clip(values, 0, None))).T
    freedom = int((counts - 1).sum())
    if freedom == 0:
        return of_rows
    squares = float(((scores - (np.bincount(owner, scores) / counts)[owner]) ** 2).sum())
    variance = squares / rng.chisquare(freedom, (_NUM_DRAWS, 1))
    wanted: np.ndarray = of_rows + rng.standard_normal(of_rows.shape) * np.sqrt(variance / counts)
    return wanted


def _over_rows(resampled: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """`A`: the mean covariance of any two different trainings of two configs, `[num_configs, num_configs]`.

    Of a config with one training there are no two, so that its variance stands in, which holds what is that training's own.
    """
    between = np.atleast_2d(np.cov(resampled))
    num_configs = int(owner.max()) + 1
    out = np.empty((num_configs, num_configs))
    for one in range(num_configs):
        for other in range(num_configs):
            block = between[np.ix_(owner == one, owner == other)]
            is_pair = ~np.eye(len(block), dtype=bool) if one == other and len(block) > 1 else np.ones_like(block, dtype=bool)
            out[one, other] = block[is_pair].mean()
    return out


def _scores(trainings: Sequence[Mapping[str, Outcome]], tasks: TaskSet, num_resamples: int | None) -> np.ndarray:
    """The score of each training on resamples of the rows, the same ones for all, `[num_trainings, num_resamples]`.

    Of None resamples it is the score on the rows themselves, `[num_trainings, 1]`.
    """
    rng = np.random.default_rng(_SEED)
    metrics = {}
    for task in tasks.tasks:
        outcomes = [training[task.name] for training in trainings]
        num_rows = outcomes[0].num_rows
        if num_resamples is None:
            metrics[task.metric_key] = _metric(outcomes, np.full((1, num_rows), 1 / num_rows))
            continue
        parts, left = [], num_resamples
        while left:
            size = min(left, max(1, _WEIGHTS_AT_ONCE // num_rows))
            weights = rng.multinomial(num_rows, np.full(num_rows, 1 / num_rows), size=size) / num_rows
            parts.append(_metric(outcomes, weights))
            left -= size
        metrics[task.metric_key] = np.concatenate(parts, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(tasks.score_of(metrics))


def _metric(outcomes: Sequence[Outcome], weights: np.ndarray) -> np.ndarray:
    """A task's metric of each training under each set of weights of its rows, `[num_trainings, num_sets]`."""
    correct = [outcome.correct for outcome in outcomes if outcome.correct is not None]
    if correct:
        shares: np.ndarray = np.stack(correct).astype(np.float64) @ weights.T
        return shares
    predicted = np.stack([np.asarray(outcome.predicted, dtype=np.float64) for outcome in outcomes])
    labels = np.asarray(outcomes[0].labels, dtype=np.float64)
    predicted, labels = predicted - predicted.mean(axis=1, keepdims=True), labels - labels.mean()
    x, y = predicted @ weights.T, weights @ labels
    covariance = (predicted * labels) @ weights.T - x * y
    variances = ((predicted**2) @ weights.T - x**2) * (weights @ labels**2 - y**2)
    ok = variances > 0
    return np.where(ok, covariance / np.sqrt(np.where(ok, variances, 1.0)), 0.0)


def _check_rows(repeats: Sequence[Repeats], tasks: TaskSet) -> None:
    first = repeats[0].outcomes[0]
    for config in repeats:
        for outcomes in config.outcomes:
            for task in tasks.tasks:
                one, other = first[task.name], outcomes[task.name]
                labels = [b"" if outcome.labels is None else outcome.labels.tobytes() for outcome in (one, other)]
                if one.num_rows != other.num_rows or labels[0] != labels[1]:
                    numbers = f"{one.num_rows} and {other.num_rows}"
                    raise ValueError(
                        f"the same rows of {task.name} must be behind all scores, but got {numbers}, or other labels"
                    )
