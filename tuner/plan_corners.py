"""Which trials of a search are worth timing: its cheapest and its dearest, one in the middle, and some between.

What trials cost beside each other is guessed from their configs; the guess chooses which are timed, and goes between those.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.domains import Categorical, Domain, Value
from search_spaces.space import Assignment, Space
from search_spaces.study import StudySpace, without_teacher_rows
from trainables.config import TrialConfig
from trainables.parts import ConfigError
from tuner.drawing import draw
from tuner.samplers import grid_points, make_sampler
from tuner.search_plan import SearchPlan

MOST_DRAWN = 256
"""Trials that are drawn to see what a trial of the space costs."""
_SMART = 5 / 3
"""What SMART adds to a plain pass over the same examples, in such passes (docs/decisions/0017)."""
_UPDATE = 2.0
"""What a step costs beside its examples, in plain passes of one: optimizer, clipping (README: three batches in a step)."""
_QUANTILES = (0.2, 0.8)
_ROUNDS, _GRID = 3, 4


def guessed_cost(config: TrialConfig, num_layers: int) -> float:
    """An example's training, in plain passes of one forward and backward: a guess from what was measured (README, Figures).

    Args:
        config: of the trial.
        num_layers: of its encoder.
    """
    objective, cost = config.objective, 0.0
    for phase in config.phases:
        still = 1.0 if phase.trainable == "heads" else min(1.0, phase.frozen_layers / num_layers)
        back = (1 - still) * (1.2 if config.encoder.lora.rank else 2.0)
        one = (1 + back) / 3
        smart = _SMART * objective.smart.batch_share * max(one, 2 / 3) if objective.smart.enabled else 0.0
        bregman = 1 / 3 if objective.bregman.mu else 0.0
        a_step = config.data.batch_size * (len(phase.tasks) if phase.task_schedule == "sum_of_losses" else 1)
        moved = (1 - still) * (0.1 if config.encoder.lora.rank else 1.0) * (2 if config.encoder.copies != "one" else 1)
        cost += phase.share * (one + smart + bregman + _UPDATE * moved * (1 + bool(objective.bregman.mu)) / a_step)
    return cost


@dataclass(frozen=True)
class Drawn:
    """The trials of a search, as far as they can be known before it.

    Attributes:
        configs: of the trials to come, in their order: a study's rows, a grid's points, or draws of the space.
        num_known: how many of them, from the first on, are the very trials.
        cheapest, dearest: corners of the space.
    """

    configs: tuple[TrialConfig, ...]
    num_known: int
    cheapest: TrialConfig
    dearest: TrialConfig


def draw_trials(plan: SearchPlan, num_before: int = 0) -> Drawn:
    """The trials to come of a search, and the corners of its space.

    Args:
        plan: of the search.
        num_before: trials that it has begun already.
    """
    space, base, settings = plan.space, plan.base, plan.settings
    if isinstance(space, StudySpace) or settings.searcher == "grid":
        points = grid_points(space, base, settings.trials, settings.seed)
        exact = [_configured(space, base, _paths_of(point)) for point in points]
        kept = tuple(exact[num_before:] or exact)
        ordered = sorted(exact, key=lambda config: _total(config, plan.num_layers))
        return Drawn(kept, len(kept), ordered[0], ordered[-1])
    starts = space.first_points(base)
    drawn = [_drawn(plan, number, starts) for number in range(num_before, num_before + MOST_DRAWN)]
    cheapest, dearest = (_corner(plan, drawn, sign) for sign in (1, -1))
    configs = tuple(_configured(space, base, point) for point in drawn)
    num_known = MOST_DRAWN if settings.searcher == "random" else max(0, len(starts) - num_before)
    return Drawn(configs, num_known, cheapest, dearest)


def _drawn(plan: SearchPlan, number: int, starts: Sequence[Mapping[str, Value]]) -> Assignment:
    """The point of a trial, as a random search draws it."""
    sampler = make_sampler("random", plan.settings.seed, number)
    fixed = starts[number] if number < len(starts) else None
    return draw(plan.space, plan.base, sampler, [], number=number, fixed=fixed).assignment


def _paths_of(point: Mapping[str, Value]) -> Assignment:
    """Config paths -> values, of names of dimensions -> values."""
    return {name.partition("@")[0]: value for name, value in point.items()}


def _configured(space: Space, base: TrialConfig, point: Assignment) -> TrialConfig:
    """The config of a point; what it leaves open is as in the base."""
    config = space.configure(point, base, 0, 0)
    return without_teacher_rows(config) if isinstance(space, StudySpace) else config


def _total(config: TrialConfig, num_layers: int) -> float:
    return guessed_cost(config, num_layers) * (config.budget_examples or 0)


def _corner(plan: SearchPlan, points: Sequence[Assignment], sign: int) -> TrialConfig:
    """A trial that no change of one dimension makes cheaper (`sign` 1) or dearer (-1), found from the most extreme of some."""

    def cost_of(point: Assignment) -> float:
        try:
            return sign * guessed_cost(plan.space.configure(point, plan.base, 0, 0), plan.num_layers)
        except ConfigError:  # which the space refuses as a draw, too
            return float("inf")

    best = min(points, key=cost_of)
    lowest = cost_of(best)
    for _ in range(_ROUNDS):
        before = lowest
        for dimension in plan.space.dimensions:
            for value in dimension.domain.grid(_GRID) if isinstance(dimension.domain, Categorical) else dimension.domain.grid(2):
                point = _with(plan, best, dimension.name, value)
                if (cost := cost_of(point)) < lowest - 1e-9:
                    best, lowest = point, cost
        if lowest == before:
            break
    return plan.space.configure(best, plan.base, 0, 0)


def _with(plan: SearchPlan, point: Assignment, name: str, value: Value) -> Assignment:
    """The point with another value of one dimension; those that play a part by it take their first value."""

    def suggest(dimension: str, domain: Domain) -> Value:
        if dimension == name:
            return value
        before = point.get(dimension.partition("@")[0])
        return before if before is not None and domain.contains(before) else domain.grid(2)[0]

    return plan.space.draw(suggest, plan.base)


def to_be_timed(drawn: Drawn, num_layers: int, most: int) -> dict[str, TrialConfig]:
    """Names -> configs that are timed, the most telling first; none twice.

    Args:
        drawn: the trials.
        num_layers: of the encoder.
        most: how many, at most; three and those between.
    """
    ordered = sorted(drawn.configs, key=lambda config: guessed_cost(config, num_layers))
    quantiles = {f"{share:.0%}": ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in _QUANTILES}
    wanted = {"middle": ordered[len(ordered) // 2], "dearest": drawn.dearest, "cheapest": drawn.cheapest, **quantiles}
    more = random.Random(0).sample(range(len(drawn.configs)), min(most, len(drawn.configs)))
    wanted |= {f"draw {number}": drawn.configs[number] for number in sorted(more)}
    kept: dict[str, TrialConfig] = {}
    for name, config in wanted.items():
        if len(kept) < most and not any(_cost_alike(config, other) for other in kept.values()):
            kept[name] = config
    return kept


def _cost_alike(one: TrialConfig, other: TrialConfig) -> bool:
    return _without_seed(one) == _without_seed(other)


def _without_seed(config: TrialConfig) -> dict[str, Any]:
    return {**config.to_tree(), "seed": 0}


class CostModel:
    """Seconds that training an example takes, by what was guessed: through what was timed, never falling as the guess rises.

    Args:
        guesses: of the timed trials, in plain passes.
        seconds: an example, as timed.
    """

    def __init__(self, guesses: Sequence[float], seconds: Sequence[float]) -> None:
        order = np.argsort(guesses, kind="stable")
        self._guesses = np.asarray(guesses, dtype=float)[order]
        self._seconds = rising(np.asarray(seconds, dtype=float)[order])

    def seconds_per_example(self, guess: float) -> float:
        """Between two timed trials on the line between them; beyond them in proportion to the guess."""
        if guess < self._guesses[0]:
            return float(self._seconds[0] * guess / self._guesses[0])
        if guess > self._guesses[-1]:
            return float(self._seconds[-1] * guess / self._guesses[-1])
        return float(np.interp(guess, self._guesses, self._seconds))


def rising(values: np.ndarray) -> np.ndarray:
    """The nearest values, in squares, that never fall: neighbours that do are set to their mean (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, n) = blocks[-2:]
            blocks[-2:] = [((a * m + b * n) / (m + n), m + n)]
    return np.repeat([mean for mean, _ in blocks], [count for _, count in blocks])
