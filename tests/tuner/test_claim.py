"""The proof of a winner, tried on trainings whose truth is known."""

from collections.abc import Sequence

import numpy as np
import pytest

from trainables.evaluation import pearson
from trainables.outcomes import Outcome
from trainables.tasks import CS224N, QQP, TaskSet
from tuner.claim import Estimate, Repeats, estimates

NUM_ROWS, NUM_SEEDS, NUM_BEST, NUM_CONFIGS, NUM_SEARCHES = 120, 3, 4, 64, 100
REFERENCE = "reference"
Rows = dict[str, np.ndarray]
Training = dict[str, Outcome]


def draw_rows(rng: np.random.Generator, num_rows: int = NUM_ROWS) -> Rows:
    """How hard each row is, in logits; of the scores the labels."""
    easy = {"sst": rng.normal(0, 3, num_rows), "qqp": rng.normal(1.5, 3, num_rows)}
    return {**easy, "sts": rng.uniform(0, 5, num_rows)}


def train(rng: np.random.Generator, rows: Rows, strength: float, seed_spread: float = 0.2) -> Training:
    """What a training makes of rows: right with a chance that hangs on row, config and seed."""
    own = strength + rng.normal(0, seed_spread)
    chances = {name: 1 / (1 + np.exp(-rows[name] - own)) for name in ("sst", "qqp")}
    outcomes = {name: Outcome(correct=rng.random(len(chance)) < chance) for name, chance in chances.items()}
    predicted = rows["sts"] + rng.normal(0, 1.2 * np.exp(-0.3 * own), len(rows["sts"]))
    return {**outcomes, "sts": Outcome(predicted=predicted.astype(np.float32), labels=rows["sts"].astype(np.float32))}


def score(training: Training) -> float:
    metrics = {key: float(np.mean(training[name].correct)) for name, key in (("sst", "sst_accuracy"), ("qqp", "qqp_accuracy"))}
    return CS224N.score_of({**metrics, "sts_pearson": pearson(training["sts"].predicted, training["sts"].labels)})


def search_and_confirm(rng: np.random.Generator, strengths: Sequence[float]) -> tuple[list[Estimate], bool]:
    """One search of configs of these strengths over a reference of strength 0, confirmed; and whether config 0 got so far."""
    seen = draw_rows(rng, 180)
    found = [score(train(rng, seen, strength)) for strength in strengths]
    best = sorted(range(len(strengths)), key=lambda config: -found[config])[:NUM_BEST]
    kept = draw_rows(rng)
    tried = [(REFERENCE, 0.0), *((config, strengths[config]) for config in best)]
    repeats = [Repeats(name, tuple(train(rng, kept, strength) for _ in range(NUM_SEEDS))) for name, strength in tried]
    return estimates(repeats, REFERENCE, CS224N, num_resamples=200), 0 in best


def two_sigma() -> float:
    """The strength that raises the expected score by two standard deviations of one training's score."""
    rng = np.random.default_rng(1)
    rows = draw_rows(rng)
    spread = np.std([score(train(rng, rows, 0.0)) for _ in range(300)])
    strengths = np.linspace(0, 1.5, 7)
    means = [np.mean([score(train(rng, rows, strength)) for _ in range(150)]) for strength in strengths]
    return float(np.interp(means[0] + 2 * spread, means, strengths))


def test_of_equal_configs_the_winners_gain_covers_zero() -> None:
    rng = np.random.default_rng(0)
    winners = [search_and_confirm(rng, [0.0] * NUM_CONFIGS)[0][0] for _ in range(NUM_SEARCHES)]
    assert sum(winner.gain_low <= 0 <= winner.gain_high for winner in winners) >= 93
    assert not all(winner.name == REFERENCE for winner in winners)


def test_a_real_gain_of_two_sigma_is_found_in_most() -> None:
    """The config that is better wins wherever it was among the best that are confirmed, which one score each decides."""
    rng, strength = np.random.default_rng(2), two_sigma()
    searches = [search_and_confirm(rng, [strength, *[0.0] * (NUM_CONFIGS - 1)]) for _ in range(NUM_SEARCHES)]
    won = [found for found, _ in searches if found[0].name == 0]
    assert len(won) > NUM_SEARCHES / 2
    assert len(won) > 0.9 * sum(was_confirmed for _, was_confirmed in searches)
    claimed = sum(found[0].is_better for found in won)
    assert claimed > 0.25 * len(won)  # the same in equal configs: 4.5 in 100


def test_the_interval_of_a_mean_covers_the_truth_in_95_of_100() -> None:
    rng = np.random.default_rng(3)
    truth = np.mean([score(train(rng, draw_rows(rng, 2000), 0.0)) for _ in range(100)])
    covered = []
    for _ in range(60):
        rows = draw_rows(rng)
        repeats = [Repeats(name, tuple(train(rng, rows, 0.0) for _ in range(NUM_SEEDS))) for name in range(5)]
        covered += [found.low <= truth <= found.high for found in estimates(repeats, 0, CS224N, num_resamples=200)]
    assert 0.9 <= np.mean(covered) <= 0.99  # 300 of them, five of a search on the same rows


@pytest.fixture(scope="module")
def confirmed() -> tuple[list[Repeats], list[Estimate]]:
    rng = np.random.default_rng(4)
    rows = draw_rows(rng)
    strengths = {REFERENCE: 0.0, 7: 1.0, 9: 0.1}
    repeats = [Repeats(name, tuple(train(rng, rows, strength) for _ in range(2))) for name, strength in strengths.items()]
    return repeats, estimates(repeats, REFERENCE, CS224N)


def test_scores_are_the_leaderboards(confirmed: tuple[list[Repeats], list[Estimate]]) -> None:
    repeats, found = confirmed
    by_name = {estimate.name: estimate for estimate in found}
    for config in repeats:
        scores = [score(training) for training in config.outcomes]
        assert by_name[config.name].scores == pytest.approx(scores, abs=1e-9)
        assert by_name[config.name].mean == pytest.approx(np.mean(scores))
        assert by_name[config.name].spread == pytest.approx(np.std(scores, ddof=1))


def test_the_best_mean_comes_first_and_gains_are_over_the_reference(confirmed: tuple[list[Repeats], list[Estimate]]) -> None:
    _, found = confirmed
    assert [estimate.mean for estimate in found] == sorted((estimate.mean for estimate in found), reverse=True)
    reference = next(estimate for estimate in found if estimate.name == REFERENCE)
    assert (reference.gain, reference.gain_low, reference.gain_high, reference.is_better) == (0, 0, 0, False)
    for estimate in found:
        assert estimate.gain == pytest.approx(estimate.mean - reference.mean)
        assert estimate.low < estimate.mean < estimate.high
        assert estimate.gain_low <= estimate.gain <= estimate.gain_high
    assert sum(estimate.probability_best for estimate in found) == pytest.approx(1)
    assert found[0].probability_best == max(estimate.probability_best for estimate in found)


def test_it_is_the_same_each_time(confirmed: tuple[list[Repeats], list[Estimate]]) -> None:
    repeats, found = confirmed
    assert estimates(repeats, REFERENCE, CS224N) == found


def test_of_one_seed_each_the_rows_alone_are_known() -> None:
    rng = np.random.default_rng(5)
    rows = draw_rows(rng)
    found = estimates([Repeats(name, (train(rng, rows, 0.0),)) for name in (0, 1)], 0, CS224N)
    assert [estimate.spread for estimate in found] == [None, None]
    assert all(estimate.low < estimate.mean < estimate.high for estimate in found)


def test_trainings_that_agree_in_every_row_leave_no_doubt_of_their_gain() -> None:
    rows = draw_rows(np.random.default_rng(6))
    same = train(np.random.default_rng(7), rows, 0.0)
    found = estimates([Repeats(name, (same, same, same)) for name in ("a", "b")], "b", CS224N)
    assert [estimate.name for estimate in found] == ["b", "a"]  # of equals the reference
    assert found[1].gain == pytest.approx(0, abs=1e-12)
    assert found[1].gain_low == pytest.approx(0, abs=1e-6)
    assert found[1].gain_high == pytest.approx(0, abs=1e-6)


def test_tasks_of_ones_own_have_their_own_formula() -> None:
    tasks = TaskSet(tasks=(QQP,), score="2 * qqp_accuracy - 1")
    right = [{"qqp": Outcome(correct=np.arange(50) < count)} for count in (30, 40)]
    found = estimates([Repeats(name, (training,)) for name, training in enumerate(right)], 0, tasks)
    assert [estimate.mean for estimate in found] == pytest.approx([0.6, 0.2])


def test_scores_of_other_rows_are_not_compared() -> None:
    rng = np.random.default_rng(8)
    rows, fewer = draw_rows(rng), draw_rows(rng, NUM_ROWS - 1)
    others = draw_rows(rng)
    for other in (fewer, others):
        with pytest.raises(ValueError, match="the same rows of s"):
            estimates([Repeats(0, (train(rng, rows, 0.0),)), Repeats(1, (train(rng, other, 0.0),))], 0, CS224N)
