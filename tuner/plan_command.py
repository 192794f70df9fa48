"""`python -m tuner.search --plan`: a plan of what was looked at, made and shown; nothing of the search is started."""

import json
import platform
from collections.abc import Sequence
from pathlib import Path

from trainables.memory import most_memory_bytes
from tuner.cluster import count_gpus, num_slots
from tuner.cluster_join import Cluster, Node, slots_of
from tuner.console import SteadyConsole
from tuner.ledger import Ledger
from tuner.plan import Plan, PlannedNode
from tuner.plan_making import DRIVER_BYTES, make_plan
from tuner.plan_text import plain, render
from tuner.processes import count_cpus
from tuner.records import TrialRecord
from tuner.search_plan import SearchPlan


def plan_search(folder: Path, search: SearchPlan, cluster: Cluster | None, *, is_new: bool, price: float | None) -> Plan:
    """The plan of a search, or of what is left of it.

    Args:
        folder: of the search; not made.
        search: looked at.
        cluster: that it would join; None: this machine alone.
        is_new: whether it would begin; else its ledger tells how its trials went.
        price: of an hour of a worker or GPU.

    Raises:
        ConfigError: not even one trial fits, or none could be timed.
    """
    settings = search.settings
    slots = slots_of(settings, cluster)
    here = num_slots(settings, count_cpus(), count_gpus())
    records: Sequence[TrialRecord] = () if is_new else Ledger.read(folder).records(live=False)
    notes = []
    if here == 0:
        notes.append("this machine does not have what each trial asks for: it timed them one at a time, as it is")
    if cluster is None:
        nodes = [PlannedNode(platform.node(), slots, most_memory_bytes(), DRIVER_BYTES)]
    else:
        fit = {node: num_slots(settings, node.num_cpus, node.num_gpus) for node in cluster.usable(settings)}
        nodes = [PlannedNode(node.host, number, node.memory_bytes, _other_bytes(node)) for node, number in fit.items()]
    return make_plan(search, nodes, slots=slots, processes=max(1, min(here, slots)), records=records, price=price, notes=notes)


def _other_bytes(node: Node) -> int:
    """On the node that the driver would run on, which is this machine."""
    return DRIVER_BYTES if node.host == platform.node() else 0


def show(plan: Plan, *, as_json: bool = False) -> None:
    """Prints a plan: a JSON object, tables for a terminal, aligned text for a pipe."""
    console = SteadyConsole(highlight=False)
    if as_json:
        console.out(json.dumps(plan.to_tree(), indent=2), highlight=False)
    elif console.is_terminal:
        console.print(render(plan))
    else:
        console.print(plain(plan), markup=False, soft_wrap=True)
