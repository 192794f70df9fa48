"""Row 10: a worker's host is cut off for 90 s, frozen for 120 s, gone for good: the search goes on, and all trials finish."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.cluster.conftest import cluster, hosts  # noqa: F401 - fixtures
from tests.cluster.hosts import Host
from tests.cluster.ray_up import OnPrem
from tests.faults.driving import apart
from tests.faults.on_hosts import HostSearch
from tests.faults.scorecard import Row

pytestmark = pytest.mark.faults
RETURN_SECONDS = 240.0


@dataclass(frozen=True)
class Fault:
    """What happens to a host, and what ends that after so many seconds; None: nothing does.

    `num_trials` of `budget` examples make a search that lasts longer than the fault.
    """

    name: str
    begin: Callable[[Host], None]
    end: Callable[[Host], None] | None = None
    seconds: float = 0.0
    num_trials: int = 8
    budget: int = 36_000


FAULTS = (
    Fault("cut off", Host.cut_off, Host.plug_in, 90.0),
    Fault("frozen", Host.freeze, Host.thaw, 120.0),
    Fault("powered off", Host.power_off),
)
QUICK_FAULTS = (Fault("killed", Host.kill, num_trials=4, budget=18_000),)


def test_a_host_is_gone(cluster: OnPrem, row: Callable[..., Row], full: bool) -> None:  # noqa: F811
    filled = row(
        10,
        "a host of three cut off for 90 s, frozen for 120 s, powered off" if full else "a host of three killed",
        "from the fault to the next report of a trial that ran there",
    )
    found = [_strike(cluster, fault, filled) for fault in (FAULTS if full else QUICK_FAULTS)]
    for search in found[1:]:
        filled.failures += [f"{search.name}: {line}" for line in apart(search.records(), found[0].records())]
    assert filled.failures == []


def _strike(cluster: OnPrem, fault: Fault, filled: Row) -> HostSearch:  # noqa: F811
    """One search with one fault, and what came of it."""
    search = HostSearch(cluster, fault.name.replace(" ", "-"), fault.num_trials, fault.budget)
    with search.observer:
        search.begin()
        victim = _host_at_work(search)
        trials, struck = search.running_on(victim.name), time.monotonic()
        fault.begin(victim)
        if fault.end is not None:
            search.wait_until(lambda: time.monotonic() - struck > fault.seconds)
            filled.notes.append(f"{search.name}: {'over before' if search.is_over() else 'at work when'} the host came back")
            fault.end(victim)
        search.wait_until(lambda: False)
        filled.runs += 1
        filled.failures += search.problems()
    for trial in trials:
        seconds = search.seconds_to_next_report(trial, struck)
        filled.recover_seconds += [] if seconds is None else [seconds]
        filled.failures += [f"{search.name}: trial {trial} ended before {victim.name} was hit"] if seconds is None else []
    if fault.end is not None:
        back = time.monotonic()
        cluster.wait_for(lambda: len(cluster.nodes()) == len(cluster.hosts), "the host to join again", RETURN_SECONDS)
        filled.notes.append(f"{search.name}: all hosts were nodes again {time.monotonic() - back:.0f} s after the search")
    return search


def _host_at_work(search: HostSearch) -> Host:
    """A host that is not the head, in the middle of a trial."""
    workers = list(search.cluster.hosts)[1:]
    search.wait_until(lambda: any(search.running_on(host.name) for host in workers))
    assert not search.is_over(), search.said()
    return next(host for host in workers if search.running_on(host.name))
