import itertools
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import FrozenTrial, TrialState

from search_spaces.domains import Float
from search_spaces.space import Dimension, Space
from tuner.drawing import MAX_ENDED, MAX_INFEASIBLE, _suggest, draw, evidence
from tuner.samplers import make_sampler

STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING)


def trials_of(num: int, shares: tuple[float, ...], seed: int = 0) -> list[FrozenTrial]:
    rng = np.random.default_rng(seed)
    states = rng.choice(len(STATES), num, p=shares)
    return [trial_of(number, STATES[state], float(rng.random()), int(rng.integers(1, 4))) for number, state in enumerate(states)]


def trial_of(number: int, state: TrialState, score: float, step: int) -> FrozenTrial:
    has_value = state in {TrialState.COMPLETE, TrialState.PRUNED}
    trial = optuna.trial.create_trial(
        state=state,
        value=score if has_value else None,
        params={"optimizer.lr": 1e-5 + score * 9e-4},
        distributions={"optimizer.lr": FloatDistribution(1e-5, 1e-3, log=True)},
        intermediate_values={step: score} if has_value else {},
    )
    trial.number = number
    return trial


def numbers(trials: list[FrozenTrial]) -> list[int]:
    return [trial.number for trial in trials]


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.1, 0.1, 0), (0.01, 0.89, 0, 0.1, 0), (0, 1, 0, 0, 0), (1, 0, 0, 0, 0)])
@pytest.mark.parametrize("num", [0, 1, 200, 1000])
def test_tpes_better_part_is_that_of_all_trials_and_its_worse_part_a_sample(num: int, shares: tuple[float, ...]) -> None:
    trials = trials_of(num, shares)
    known = [trial for trial in trials if trial.state in STATES[:2] or trial.state is TrialState.RUNNING]
    shown = evidence(trials)
    assert numbers(shown) == sorted(numbers(shown)) and set(numbers(shown)) <= set(numbers(known))
    ended = [trial for trial in shown if trial.state in STATES[:2]]
    assert len(ended) == min(MAX_ENDED, sum(trial.state in STATES[:2] for trial in trials))
    assert sum(trial.state is TrialState.RUNNING for trial in shown) == sum(t.state is TrialState.RUNNING for t in trials)
    study = optuna.create_study(direction="maximize")
    better, worse = _split_trials(study, known, 25)
    shown_better, shown_worse = _split_trials(study, shown, 25)
    assert numbers(shown_better) == numbers(better)
    assert set(numbers(shown_worse)) <= set(numbers(worse))


def test_few_trials_are_all_shown() -> None:
    trials = trials_of(MAX_ENDED, (0.5, 0.5, 0, 0, 0))
    assert evidence(trials) == trials


def test_from_ask_to_ask_the_sample_changes_by_what_is_new() -> None:
    trials = trials_of(1000, (0.2, 0.8, 0, 0, 0))
    for before, after in itertools.pairwise(evidence(trials[:num]) for num in range(990, 1000)):
        assert len(set(numbers(after)) - set(numbers(before))) <= 2


@pytest.mark.parametrize("searcher", ["tpe", "random"])
def test_what_is_fixed_is_not_drawn_and_the_rest_lies_in_the_space(searcher: str, toy: Any) -> None:
    trials = trials_of(300, (0.5, 0.5, 0, 0, 0))
    drawn = draw(toy.space, toy.base, make_sampler(searcher, 1, 2), trials, number=300, fixed={"heads.*.kind": "mlp"})
    assert drawn.assignment["heads.*.kind"] == "mlp" and 16 <= drawn.assignment["heads.*.hidden_size"] <= 256
    assert drawn.params == dict(drawn.assignment) and set(drawn.distributions) == set(drawn.params)
    again = draw(toy.space, toy.base, make_sampler(searcher, 1, 2), trials, number=300, fixed={"heads.*.kind": "mlp"})
    assert drawn == again


def test_tpe_learns_from_what_it_is_shown(toy: Any) -> None:
    def share_of_small(trials: list[FrozenTrial]) -> float:
        rates = [
            draw(toy.space, toy.base, make_sampler("tpe", 1, n), trials, number=len(trials)).assignment["optimizer.lr"]
            for n in range(20)
        ]
        return float(np.mean([rate < 1e-4 for rate in rates]))

    rng = np.random.default_rng(0)
    rates = 10 ** rng.uniform(-5, -3, 600)
    space = {"optimizer.lr": FloatDistribution(1e-5, 1e-3, log=True)}
    trials = [
        optuna.trial.create_trial(value=-abs(np.log(rate / 3e-5)), params={"optimizer.lr": rate}, distributions=space)
        for rate in rates.tolist()
    ]
    for number, trial in enumerate(trials):
        trial.number = number
    assert share_of_small(trials) > 0.8 > share_of_small([])


def test_tpe_keeps_away_from_where_trials_ran_out_of_memory_however_good_it_is_there(toy: Any) -> None:
    space = {"optimizer.lr": FloatDistribution(1e-5, 1e-3, log=True)}
    rng = np.random.default_rng(0)
    trials = [
        optuna.trial.create_trial(value=np.log(rate), params={"optimizer.lr": rate}, distributions=space)
        for rate in (10 ** rng.uniform(-5, -3, 60)).tolist()
    ]
    failed = [
        optuna.trial.create_trial(
            state=TrialState.FAIL, params={"optimizer.lr": rate}, distributions=space, system_attrs={"constraints:memory": 1.0}
        )
        for rate in (10 ** rng.uniform(-4, -3, MAX_INFEASIBLE + 10)).tolist()
    ]
    for number, trial in enumerate([*trials, *failed]):
        trial.number = number

    def mean_log_rate(shown: list[FrozenTrial]) -> float:
        drawn = [draw(toy.space, toy.base, make_sampler("tpe", 1, n), shown, number=len(shown)).assignment for n in range(20)]
        return float(np.mean([np.log10(assignment["optimizer.lr"]) for assignment in drawn]))

    shown = evidence([*trials, *failed])
    assert numbers(shown) == [*range(60), *range(70, 70 + MAX_INFEASIBLE)]
    assert all(trial.state is TrialState.FAIL for trial in failed)
    assert mean_log_rate([*trials, *failed]) < mean_log_rate(trials) - 0.1


def test_a_random_sampler_needs_no_trials(toy: Any) -> None:
    few, many = [], trials_of(300, (1, 0, 0, 0, 0))
    by_number = [draw(toy.space, toy.base, RandomSampler(seed=3), trials, number=300) for trials in (few, many)]
    assert by_number[0] == by_number[1]


def test_while_all_trials_are_shown_optuna_draws_the_same(toy: Any) -> None:
    """Its study holds the same trials, and it writes each value into its store as it is drawn."""
    study = optuna.create_study(direction="maximize")
    for number in range(30):
        study.sampler = make_sampler("tpe", 1, number)
        ours = draw(toy.space, toy.base, make_sampler("tpe", 1, number), study.trials, number=number)
        trial = study.ask()
        toy.space.draw(lambda name, domain, trial=trial: _suggest(trial, name, domain), toy.base)
        assert dict(trial.params) == ours.params
        if number % 7:
            study.tell(trial, -abs(np.log(trial.params["optimizer.lr"] / 3e-5)))


def told(space: Space, toy: Any, num_trials: int, seed: int, before: list[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that are the better, the larger their rate."""
    trials = list(before)
    for number in range(len(before), len(before) + num_trials):
        drawn = draw(space, toy.base, make_sampler("tpe", seed, number), trials, number=number)
        score = float(np.log(drawn.params["optimizer.lr"]))
        trial = optuna.trial.create_trial(value=score, params=drawn.params, distributions=drawn.distributions)
        trial.number = number
        trials.append(trial)
    return trials


@pytest.mark.parametrize("bounds", [(1e-5, 1e-2), (1e-6, 5e-5)])
def test_tpe_goes_on_over_other_bounds(bounds: tuple[float, float], toy: Any) -> None:
    first, second = (Space("rate", (Dimension("optimizer.lr", Float(*b, log=True)),)) for b in ((1e-5, 1e-4), bounds))
    trials = told(second, toy, 30, 1, told(first, toy, 12, 1, []))
    rates = [trial.params["optimizer.lr"] for trial in trials[12:]]
    assert all(bounds[0] <= rate <= bounds[1] for rate in rates)
    assert max(rates) > bounds[1] / 3  # it is the best that there is now
    assert [trial.distributions["optimizer.lr"].high for trial in trials[:12]] == [1e-4] * 12, "the ledger's own stay"


def test_a_hole_in_the_numbers_is_no_trouble() -> None:
    assert len(evidence(trials_of(400, (1, 0, 0, 0, 0))[1:])) == MAX_ENDED


def test_a_dimension_that_had_choices_once_is_drawn_from_its_range(toy: Any) -> None:
    words = {"optimizer.lr": optuna.distributions.CategoricalDistribution(("low", "high"))}
    trials = [optuna.trial.create_trial(value=0.5, params={"optimizer.lr": "low"}, distributions=words) for _ in range(8)]
    for number, trial in enumerate(trials):
        trial.number = number
    space = Space("rate", (Dimension("optimizer.lr", Float(1e-5, 1e-4, log=True)),))
    assert 1e-5 <= draw(space, toy.base, make_sampler("tpe", 1, 8), trials, number=8).params["optimizer.lr"] <= 1e-4
