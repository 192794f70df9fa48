"""Who proposes configs: Optuna's samplers, one a trial, and the points of a grid."""

import itertools
import warnings

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from search_spaces.domains import Domain, Value
from search_spaces.space import GRID_POINTS, Assignment, Space
from search_spaces.study import StudySpace
from trainables.config import TrialConfig

_NUM_RANDOM_TRIALS = 6


def make_sampler(searcher: str, seed: int, number: int) -> BaseSampler:
    """The sampler that draws trial `number`.

    Seeded by search and trial, so that a driver that takes over draws what the first would have drawn; no random state is kept.

    Args:
        searcher: `tpe` (Bergstra et al. 2011, https://papers.nips.cc/paper/4443; multivariate, conditional dimensions in groups,
            aware of trials that still run), `random`, or `grid` (whose points wait in the study's queue).
        seed: of the search.
        number: of the trial.
    """
    entropy = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    if searcher != "tpe":
        return RandomSampler(seed=entropy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=entropy,
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=_NUM_RANDOM_TRIALS,
        )


def grid_points(space: Space, base: TrialConfig, limit: int, seed: int) -> list[dict[str, Value]]:
    """At most `limit` points of the space's grid (3 values of each range, all choices), in an order drawn by the seed.

    As they are enqueued: names of dimensions -> values.

    A study's points come in its own order, in which teachers stand before their students.
    A grid that is larger than `limit` is sampled without repeats, so that its corners are not all that is seen of it.
    """
    return [space.by_name(point, base) for point in _grid_points(space, base, limit, seed)]


def _grid_points(space: Space, base: TrialConfig, limit: int, seed: int) -> list[Assignment]:
    if isinstance(space, StudySpace):
        return list(itertools.islice(space.grid(base), limit))
    rng = np.random.default_rng((seed, 0x6772))
    points = list(itertools.islice(space.grid(base, GRID_POINTS), limit + 1))
    if len(points) <= limit:
        return [points[i] for i in rng.permutation(len(points))]

    def draw(_path: str, domain: Domain) -> Value:
        values = domain.grid(GRID_POINTS)
        return values[int(rng.integers(len(values)))]

    found: dict[tuple[tuple[str, Value], ...], Assignment] = {}
    while len(found) < limit:
        point = space.draw(draw, base)
        found[tuple(point.items())] = point
    return list(found.values())
