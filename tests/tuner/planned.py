"""A plan made without timing anything: every trial takes what it is said to take."""

from collections.abc import Mapping
from typing import Any

from trainables.config import TrialConfig
from trainables.timed import TimedTrial
from tuner.plan import Plan, PlannedNode
from tuner.plan_corners import guessed_cost
from tuner.plan_making import make_plan
from tuner.plan_probe import Probed
from tuner.search_plan import SearchPlan

NODE = PlannedNode("here", 2, 8 * 10**9)


def timed(seconds_per_example: float = 0.01, **changes: Any) -> TimedTrial:
    values = {
        "begin_seconds": 0.5,
        "seconds_per_example": seconds_per_example,
        "num_steps": 12,
        "scoring_seconds_per_row": 0.001,
        "checkpoint_seconds": 0.25,
        "checkpoint_bytes": 270_000_000,
        "model_bytes": 90_000_000,
        "memory_bytes": 1_000_000_000,
    }
    return TimedTrial(**{**values, **changes})


def as_guessed(configs: Mapping[str, TrialConfig], num_processes: int, *, gpus_per_trial: float = 0.0) -> Probed:
    """A hundredth of a second for each plain pass of an example."""
    of_all = {name: timed(0.01 * guessed_cost(config, 2)) for name, config in configs.items()}
    return Probed(of_all, {}, num_processes, 1.0)


def planned(search: SearchPlan, **options: Any) -> Plan:
    return make_plan(search, [NODE], **{"slots": 2, "processes": 2, "probe": as_guessed, **options})
