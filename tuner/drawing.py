"""A point is drawn in memory: no store is asked, and none is written to.

What a sampler learns from is bounded, for TPE looks at every trial it is shown, for each group of dimensions anew: an ask took
0.9 s at 5,000 trials of 43 dimensions.
"""

import copy
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from search_spaces.domains import Categorical, Domain, Float, Int, Value
from search_spaces.space import Assignment, Space
from trainables.config import TrialConfig
from tuner.study_tables import changed

MAX_ENDED = 250
"""Ended trials that a sampler is shown.  From as many on TPE's better part has its largest size, 25."""
MAX_INFEASIBLE = 50
_NUM_BEST = 25
_SEED = 20_181_106
_TEACHES = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        assignment: config path -> value.
        params, distributions: the same by names of dimensions, as Optuna keeps it.
    """

    assignment: Assignment
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]


def draw(
    space: Space,
    base: TrialConfig,
    sampler: BaseSampler,
    trials: Sequence[FrozenTrial],
    *,
    number: int,
    fixed: Mapping[str, Any] | None = None,
) -> Drawn:
    """A point of a space.

    Args:
        space: what varies.
        base: the config under it.
        sampler: draws the values.
        trials: the others of the study, by number.
        number: of the trial that it is for.
        fixed: names of dimensions -> values that are not drawn.
    """
    shown = [] if isinstance(sampler, RandomSampler) else _within(space, evidence(trials))
    study = optuna.create_study(storage=_Shown(shown, number), direction="maximize", sampler=sampler)
    if fixed:
        study.enqueue_trial(dict(fixed))
    trial = study.ask()
    assignment = space.draw(lambda name, domain: _suggest(trial, name, domain), base)
    return Drawn(assignment, dict(trial.params), dict(trial.distributions))


def evidence(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that a sampler is shown, by number: all that run, at most `MAX_ENDED` of those that teach, and some that failed.

    Those that teach are the best 25, in the order in which TPE ranks them (complete ones by value, then stopped ones by the
    budget they reached and their last score), so that its better part is that of all trials; and of the others a sample, the same
    trials from ask to ask but for those that are new.  A departure from TPE, whose worse part is all the others.

    Those that failed are the last `MAX_INFEASIBLE` that ran out of memory.  They are shown as if they had been stopped, for of
    failed ones TPE would not look at the constraint.
    """
    ended = [trial for trial in trials if trial.state in _TEACHES]
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    if len(ended) > MAX_ENDED:
        best = _best(ended)
        taken = {trial.number for trial in best}
        ended = best + _sample([trial for trial in ended if trial.number not in taken], MAX_ENDED - len(best))
    infeasible = [trial for trial in trials if trial.state is TrialState.FAIL and trial.constraints][-MAX_INFEASIBLE:]
    ended = ended + [changed(trial, state=TrialState.PRUNED) for trial in infeasible]
    return sorted(ended + running, key=lambda trial: trial.number)


def _best(ended: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    complete = [trial for trial in ended if trial.state is TrialState.COMPLETE]
    best = heapq.nsmallest(_NUM_BEST, complete, key=lambda trial: -(trial.value or 0.0))
    if len(best) == _NUM_BEST:
        return best
    stopped = (trial for trial in ended if trial.state is TrialState.PRUNED and trial.last_step is not None)
    return best + heapq.nsmallest(
        _NUM_BEST - len(best), stopped, key=lambda trial: (-(trial.last_step or 0), -(trial.value or 0.0))
    )


def _sample(trials: Sequence[FrozenTrial], size: int) -> list[FrozenTrial]:
    numbers = [trial.number for trial in trials]
    drawn = np.random.default_rng(_SEED).random(max(numbers) + 1)[numbers]  # of a longer study it begins with the same
    return [trials[index] for index in np.argpartition(drawn, size)[:size]]


def _within(space: Space, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials as if the space's ranges had always been what they are now; those with a value outside of them teach nothing.

    Optuna's groups keep the range that a dimension had in the first trial, and never draw beyond it.
    """
    present_ones = ((dimension.name, distribution_of(dimension.domain)) for dimension in space.dimensions)
    ranges = {name: present for name, present in present_ones if isinstance(present, FloatDistribution | IntDistribution)}
    out = []
    for trial in trials:
        old = {name: (present, trial.distributions[name]) for name, present in ranges.items() if name in trial.distributions}
        moved = {name: present for name, (present, other) in old.items() if _bounds(present) != _bounds(other)}
        if all(_lies_in(present, trial.params[name]) for name, present in moved.items()):
            out.append(changed(trial, distributions=moved) if moved else trial)
    return out


def distribution_of(domain: Domain) -> BaseDistribution:
    """What Optuna calls a domain."""
    if isinstance(domain, Categorical):
        return CategoricalDistribution(domain.choices)
    if isinstance(domain, Float):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    assert isinstance(domain, Int)
    return IntDistribution(domain.low, domain.high, log=domain.log)


def _bounds(distribution: BaseDistribution) -> tuple[Any, ...]:
    return type(distribution), *(getattr(distribution, name, None) for name in ("low", "high", "log"))


def _lies_in(present: FloatDistribution | IntDistribution, value: Any) -> bool:
    """Never a word: the dimension had choices once."""
    return isinstance(value, int | float) and not isinstance(value, bool) and present.low <= value <= present.high


class _Shown(InMemoryStorage):
    """A study in memory in which other trials can be seen, without their being copied; its own one has the number given."""

    def __init__(self, shown: list[FrozenTrial], number: int) -> None:
        super().__init__()
        self._shown, self._number = shown, number

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Its own."""
        return self._numbered(super().get_trial(trial_id))

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """Those that are shown, and its own."""
        own = [self._numbered(trial) for trial in super().get_all_trials(study_id, deepcopy, states)]
        return [*(trial for trial in self._shown if states is None or trial.state in states), *own]

    def _numbered(self, trial: FrozenTrial) -> FrozenTrial:
        """Numbered by itself it would be trial 0, which TPE would then leave out of what it learns from."""
        out = copy.copy(trial)
        out.number = self._number
        return out


def _suggest(trial: optuna.Trial, name: str, domain: Domain) -> Value:
    if isinstance(domain, Categorical):
        choice = trial.suggest_categorical(name, domain.choices)
        assert choice is not None
        return choice
    if isinstance(domain, Float):
        return trial.suggest_float(name, domain.low, domain.high, log=domain.log)
    assert isinstance(domain, Int)
    return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
