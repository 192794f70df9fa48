"""Early stopping, audited: which of the trials that are stopped run on to their full budget all the same.

Whether ASHA stops the right trials can be seen only of those that are not stopped.  So a small share of those that would be is
let go on, drawn before anything is known of them: one of every `1 / share` in the order in which they are stopped, the place by
the search's seed.  Nothing else changes: at the rung it counts as stopped, and its later scores are compared with nobody's.
"""

import numpy as np

_SEED = 20_161_003


def is_audited(position: int, share: float, *, num_trials: int, search_seed: int) -> bool:
    """Whether the trial that is stopped as the `position`-th, from 0, runs on.

    The first one that does is among the first quarter of the search's trials to be stopped, so that small searches have one.

    Args:
        position: how many were stopped before it, those that ran on among them.
        share: of the stopped trials, in [0, 1]; 0: none.
        num_trials: of the whole search.
        search_seed: of the search.
    """
    if share <= 0:
        return False
    size = max(1, round(1 / share))
    block, place = divmod(position, size)
    width = size if block else max(1, min(size, num_trials // 4))
    rng = np.random.default_rng(np.random.SeedSequence((_SEED, search_seed, block)))
    return place == int(rng.integers(width))
