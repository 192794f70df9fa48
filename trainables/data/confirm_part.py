"""Dev in two parts: one that trials are scored on and compared by, and one that no trial of a search ever sees.

A score that a trial was chosen by is on the lucky side; of rows that nothing was chosen by it is not (Dwork et al. 2015, "The
reusable holdout", https://doi.org/10.1126/science.aaa9375).
"""

import hashlib

import numpy as np

from trainables.data.rows import DataError, Rows
from trainables.tasks import Task

LEAST_ROWS = 2
"""Of each part: fewer have no correlation."""
_NUM_SCORE_STRATA = 10


def confirm_places(task: Task, dev: Rows, share: float) -> np.ndarray:
    """Numbers of the dev rows that are kept for the confirmation, int64 ascending: the same ones for the same ids and labels.

    Rows are put in order of their strata, within each in the order of a hash of task and id, and every `1 / share`-th is taken:
    each stratum loses its share of rows, and nothing but their hashes says which.  A stratum is a class, or a tenth of the
    range of the scores.

    Args:
        task: whose rows they are.
        dev: all of them, with labels.
        share: of the rows, in (0, 1).

    Raises:
        DataError: one of the parts would have fewer than two rows.
    """
    assert dev.labels is not None, "dev has labels"
    num_kept = round(share * dev.num_rows)
    if min(num_kept, dev.num_rows - num_kept) < LEAST_ROWS:
        raise DataError(
            [
                f"data.confirm_share={share:g} of {dev.num_rows} dev rows of {task.name} leaves {dev.num_rows - num_kept} to "
                f"search by and {num_kept} to confirm with; each must have {LEAST_ROWS} at least"
            ]
        )
    hashes = [hashlib.sha256(f"{task.name}\0{name}".encode()).digest() for name in dev.ids]
    strata = _strata(task, dev.labels)
    ordered = np.array(sorted(range(dev.num_rows), key=lambda row: (strata[row], hashes[row], row)))
    middles = (np.arange(num_kept) + 0.5) * dev.num_rows / num_kept
    kept: np.ndarray = np.sort(ordered[middles.astype(np.int64)])
    return kept


def split_dev(task: Task, dev: Rows, share: float) -> tuple[Rows, Rows, np.ndarray]:
    """The rows to search by, those to confirm with, and where the latter stood (see `confirm_places`).

    Raises:
        DataError: one of the parts would have fewer than two rows.
    """
    places = confirm_places(task, dev, share)
    is_kept = np.zeros(dev.num_rows, dtype=bool)
    is_kept[places] = True
    return _taken(dev, ~is_kept), _taken(dev, is_kept), places


def merged(search: np.ndarray, confirm: np.ndarray, places: np.ndarray) -> np.ndarray:
    """What is known of each row of the two parts, in the order that dev had before it was split.

    Args:
        search: of the rows to search by, `[num_rows, ...]`.
        confirm: of the rows to confirm with, likewise, of the same dtype.
        places: where the rows of the latter stood.
    """
    assert search.dtype == confirm.dtype, (search.dtype, confirm.dtype)
    out = np.empty((len(search) + len(confirm), *search.shape[1:]), dtype=search.dtype)
    is_kept = np.zeros(len(out), dtype=bool)
    is_kept[places] = True
    out[is_kept], out[~is_kept] = confirm, search
    return out


def _strata(task: Task, labels: np.ndarray) -> np.ndarray:
    if task.target != "score":
        return labels.astype(np.int64)
    tenths = (labels - task.label_low) / (task.label_high - task.label_low) * _NUM_SCORE_STRATA
    strata: np.ndarray = np.clip(tenths, 0, _NUM_SCORE_STRATA - 1).astype(np.int64)
    return strata


def _taken(rows: Rows, mask: np.ndarray) -> Rows:
    assert rows.labels is not None
    chosen = np.flatnonzero(mask).tolist()
    sentences = tuple([column[row] for row in chosen] for column in rows.sentences)
    return Rows([rows.ids[row] for row in chosen], sentences, rows.labels[mask])
