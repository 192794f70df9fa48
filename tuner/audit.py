"""Early stopping, audited: which of the trials that are stopped run on to their full budget all the same.

Whether ASHA stops the right trials can be seen only of those that are not stopped.  So a small share of those that would be is
let go on, drawn before anything is known of them: evenly in the order in which they are stopped, the first place by the search's
seed.  Nothing else changes: at the rung it counts as stopped, and its later scores are compared with nobody's.
"""

import math

import numpy as np

_SEED = 20_161_003
_AMONG_FIRST = 4


def is_audited(position: int, share: float, *, num_trials: int, search_seed: int) -> bool:
    """Whether the trial that is stopped as the `position`-th, from 0, runs on: a systematic sample with a seeded start.

    The first one that does is among the first four to be stopped, or the first quarter of the trials of a smaller search: so that
    these have one, too.

    Args:
        position: how many were stopped before it, those that ran on among them.
        share: of the stopped trials, in [0, 1]; 0: none.
        num_trials: of the whole search.
        search_seed: of the search.
    """
    if share <= 0:
        return False
    first = max(1, min(_AMONG_FIRST, num_trials // 4))
    start = np.random.default_rng(np.random.SeedSequence((_SEED, search_seed))).random()
    offset = 1 - (1 - start) * min(
        1.0, first * share
    )  # the sample's places are where a multiple of the share steps over a whole number
    return math.floor(offset + (position + 1) * share) > math.floor(offset + position * share)
