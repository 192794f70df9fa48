"""The watchdog: a trial that no longer gets on is ended, and its stack kept, while the others train.

A trial is judged by its heartbeat (`trainables.heartbeat`), which beats with each step of training and each batch of dev, on its
own machine's clock that nobody can set.  It is looked at only once a limit has passed since it was last known to live: when it
got its worker, at its last report, at the last beat that was seen.  So what a worker did before the trial was its own, or between
two trials, is never held against one.  Nor is what its machine did: where that is cut off or frozen the look waits, until the
machine is back or Ray gives it up after a minute.  What comes late says nothing of the trial, which is looked at again a limit
later.
"""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray._private.state import actors
from ray.tune import Callback
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.heartbeat import STACK
from trainables.trainable import ORDER_KEY
from tuner.examination import STOPPED, Finding, examine, kill

if TYPE_CHECKING:
    from tuner.referee import Referee

LEAST_LIMIT_SECONDS = 600.0
LIMIT_FACTOR = 5
_ROUND_SECONDS = 1.0
_PROMPT_SECONDS = 20.0
"""Where a look takes longer, its machine was away or overloaded."""


def limit_of(asked_for: float | None, longest_report_seconds: float) -> float:
    """Seconds without a sign of life after which a trial is hung.

    Where none was asked for: five times the longest interval between two reports of this search, and no less than ten minutes.  A
    report is made of many steps and batches, and each of them is a sign of life.
    """
    return asked_for if asked_for is not None else max(LEAST_LIMIT_SECONDS, LIMIT_FACTOR * longest_report_seconds)


@dataclass
class _Watched:
    """A trial with its worker.

    Attributes:
        alive: when it was last known to live, by the driver's monotonic clock.
        look: a look at it that is under way.
        asked: when that began, by the same clock.
        limit: of that look, seconds.
    """

    alive: float
    look: Any = None
    asked: float = 0.0
    limit: float = 0.0


class Watchdog(Callback):  # type: ignore[misc]  # ray has no types
    """Ends hung trials: first in the ledger, then their processes; Tune does not start them again.

    Args:
        referee: hears of what has hung.
        limit_seconds: as asked for; None: by the search's own reports (see `limit_of`).
    """

    def __init__(self, referee: "Referee", limit_seconds: float | None) -> None:
        self._referee, self._limit_seconds = referee, limit_seconds
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._next_round = 0.0

    def on_step_begin(self, trials: Sequence[Any] = (), **_info: Any) -> None:
        """Tune's hook, ten times a second or more often; looks once a second."""
        now = time.monotonic()
        if now < self._next_round:
            return
        self._next_round = now + _ROUND_SECONDS
        held = {_key(trial): trial for trial in trials if trial.temporary_state.ray_actor is not None}
        self._watched = {key: self._watched.get(key) or _Watched(alive=now) for key in held}
        for key, watched in self._watched.items():
            self._watch(held[key], watched, now)

    def on_trial_start(self, trial: Any, **_info: Any) -> None:
        """Tune's hook: a worker, new or used before, is ready for a trial."""
        self._watched[_key(trial)] = _Watched(alive=time.monotonic())

    def on_trial_result(self, trial: Any, **_info: Any) -> None:
        """Tune's hook: a report has come.  A look that is under way goes on: it may have set a stopped process going."""
        now = time.monotonic()
        self._watched.setdefault(_key(trial), _Watched(alive=now)).alive = now

    def _watch(self, trial: Any, watched: _Watched, now: float) -> None:
        if watched.look is not None:
            ready, _ = ray.wait([watched.look], timeout=0)
            if ready:
                self._judge(trial, watched)
        elif now - watched.alive > (limit := limit_of(self._limit_seconds, self._referee.longest_report_seconds)):
            watched.look = _on_its_machine(trial, examine, _order(trial), limit)
            watched.asked, watched.limit = now, limit
            watched.alive = watched.alive if watched.look is not None else now  # its worker is gone: Ray will say so

    def _judge(self, trial: Any, watched: _Watched) -> None:
        look, watched.look = watched.look, None
        try:
            finding: Finding = ray.get(look)
        except ray.exceptions.RayError:  # its machine is gone, and it with it: Ray will say so
            watched.alive = time.monotonic()
            return
        if time.monotonic() - watched.asked > _PROMPT_SECONDS:
            watched.alive = time.monotonic()
            return
        if watched.alive > watched.asked and finding.state != STOPPED:
            return  # it has reported since: slow, not hung
        silent_seconds = finding.silent_seconds
        if silent_seconds is None:  # no beat was ever written: what the driver has heard is all there is
            silent_seconds = time.monotonic() - watched.alive
        if finding.is_there and silent_seconds > watched.limit:
            self._end(trial, finding, silent_seconds, watched.limit)
        else:
            watched.alive = time.monotonic() - (silent_seconds if finding.is_there else 0.0)

    def _end(self, trial: Any, finding: Finding, silent_seconds: float, limit_seconds: float) -> None:
        order = _order(trial)
        _keep_stack(Path(order["folder"]), finding.stack)
        doing = f"; its process was {finding.state}" if finding.state else ""
        where = f"; {STACK} says where it stood" if finding.stack else "; it did not say where it stood"
        detail = f"no step for {silent_seconds:.0f} s, over its limit of {limit_seconds:g} s{doing}{where}"
        self._referee.end(int(trial.config["number"]), "failed", "hung", detail)
        trial.max_failures = 0  # Tune would start it again
        _on_its_machine(trial, kill, order)  # a stopped process hears no one but the kernel
        ray.kill(trial.temporary_state.ray_actor)

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune pickles its parts."""
        return {}


def _key(trial: Any) -> tuple[str, str]:
    """Trial and worker: with another worker it begins anew."""
    actor = trial.temporary_state.ray_actor
    return trial.trial_id, "" if actor is None else actor._actor_id.hex()


def _order(trial: Any) -> dict[str, Any]:
    order: dict[str, Any] = json.loads(trial.config[ORDER_KEY])
    return order


def _on_its_machine(trial: Any, function: Any, *args: Any) -> Any:
    """Has a function called where the trial's worker runs, busy as it may be; None where Ray no longer knows the worker."""
    worker = actors(trial.temporary_state.ray_actor._actor_id.hex())
    node = worker.get("Address", {}).get("NodeID")
    if not node:
        return None
    there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    return ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(*args)


def _keep_stack(folder: Path, stack: str) -> None:
    """Writes the stack into the trial's folder here, where its machine does not share that."""
    file = folder / STACK
    with contextlib.suppress(OSError):
        if stack and not (file.exists() and file.stat().st_size):
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(stack, encoding="utf-8")
