"""Which texts of another source become training rows: as many and as long as the task's own, or the nearest to them.

Source: best_fit, section 4.6.2.
"""

import numpy as np

BIN_WORDS = 5


def quotas(weights: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers `[num_parts]` that add up to `total`, in proportion to the weights; the largest remainders round up.

    All are 0 where all weights are.
    """
    if not weights.sum():
        return np.zeros(len(weights), dtype=np.int64)
    exact = weights / weights.sum() * total
    whole: np.ndarray = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: total - whole.sum()]] += 1
    return whole


def choose_random(
    words: np.ndarray,
    labels: np.ndarray,
    own_words: np.ndarray,
    own_labels: np.ndarray,
    *,
    total: int,
    chance: np.random.Generator,
) -> np.ndarray:
    """Numbers of texts, ascending, drawn so that labels and lengths are spread as among the task's own rows.

    "Reviews were filtered so that the distribution of sentence lengths and the number of reviews per category were the same as
    the original SST train dataset" (best_fit 4.6.2).  Lengths are taken in bins of 5 words, within each label.

    Args:
        words: of each text, int `[num_texts]`.
        labels: of each text, int `[num_texts]`.
        own_words: of each training row of the task.
        own_labels: of each training row of the task.
        total: how many are wanted; fewer come where a bin has too few.
        chance: of the draw.
    """
    bins = 1 + max(int(words.max(initial=0)), int(own_words.max(initial=0))) // BIN_WORDS
    cells, own_cells = labels * bins + words // BIN_WORDS, own_labels * bins + own_words // BIN_WORDS
    wanted = quotas(np.bincount(own_cells, minlength=int(cells.max(initial=0)) + 1), total)
    chosen = [chance.permutation(np.flatnonzero(cells == cell))[:count] for cell, count in enumerate(wanted) if count]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)


def nearest_to(vectors: np.ndarray, centre: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the unit vectors `[n, hidden]` with the greatest cosine to a centre `[hidden]`, ascending."""
    return np.sort(np.argsort(-(vectors @ centre), kind="stable")[:count])


def choose_nearest(
    vectors: np.ndarray, labels: np.ndarray, own_vectors: np.ndarray, own_labels: np.ndarray, per_label: int
) -> np.ndarray:
    """Numbers of texts, ascending: of each label the `per_label` that are nearest to the mean vector of its own rows.

    "For each label in the SST dataset, the average embedding was computed, and the 3000 sentences with the greatest cosine
    similarity from reviews with the corresponding number of stars were selected" (best_fit 4.6.2).

    Args:
        vectors: unit vectors of the texts, `[num_texts, hidden]`.
        labels: int `[num_texts]`.
        own_vectors: of the task's training rows, `[num_rows, hidden]`.
        own_labels: of the task's training rows.
        per_label: how many of each label; fewer where there are not so many.
    """
    chosen = []
    for label in np.unique(own_labels):
        of_label = np.flatnonzero(labels == label)
        centre = own_vectors[own_labels == label].mean(axis=0)
        chosen.append(of_label[nearest_to(vectors[of_label], centre, per_label)])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)


def draw_shots(labels: np.ndarray, count: int, chance: np.random.Generator) -> np.ndarray:
    """Numbers of rows, in random order, with each label as often as any other, give or take one."""
    classes = chance.permutation(np.unique(labels))
    left = [list(chance.permutation(np.flatnonzero(labels == label))) for label in classes]
    drawn: list[int] = []
    while len(drawn) < count and any(left):
        drawn += [rows.pop() for rows in left if rows][: count - len(drawn)]
    return chance.permutation(np.array(drawn, dtype=np.int64))
