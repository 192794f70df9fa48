"""What is measured: groups of entries that take turns, each with its unit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from benchmarks.measuring import Entry, Run, Startable
from benchmarks.search_workload import SearchWorkload
from benchmarks.workload import Workload


@dataclass(frozen=True)
class Group:
    """Entries that take turns.

    Attributes:
        entries: makes them; the others stand beside the first.
        unit: of the figure that is compared.
        figure: of one turn.
        rounds: in which each entry has a turn, where nothing else is asked for.
        warm_ups: rounds before them, which do not count.
    """

    entries: Callable[[Workload], Mapping[str, Startable]]
    unit: str
    figure: Callable[[Run], float]
    rounds: int
    warm_ups: int = 1


def peers(workload: Workload) -> dict[str, Entry]:
    """The trainers, all on the whole machine; and what the machine could do."""
    from benchmarks.ceiling import MatrixProducts
    from benchmarks.ours import OurTrainer
    from benchmarks.peers.cs224n_loop import Cs224nLoop
    from benchmarks.peers.hf_trainer import HfTrainer

    cores = workload.num_threads
    one = replace(workload, num_threads=1)
    return {
        "Hugging Face Trainer, default": Entry(HfTrainer, (workload, {}), cores),
        "Hugging Face Trainer, group_by_length": Entry(
            HfTrainer, (workload, {"train_sampling_strategy": "group_by_length"}), cores
        ),
        "CS224N-style loop": Entry(Cs224nLoop, (workload,), cores),
        "tritune, one trial on all cores": Entry(OurTrainer, (workload, {}), cores),
        "tritune, a trial on each core": Entry(OurTrainer, (one, {}), 1, cores),
        "matrix products alone, on each core": Entry(MatrixProducts, (one,), 1, cores),
    }


def techniques(workload: Workload) -> dict[str, Entry]:
    """What our techniques cost or save, one thread each."""
    from benchmarks.ours import OurEvaluation, OurTrainer

    one = replace(workload, num_threads=1)
    heads, half = {"phases.0.trainable": "heads"}, {"phases.0.frozen_layers": 3}
    smart = {"objective.smart.enabled": True}
    never, always = ({"encoder.frozen_cache": how} for how in ("never", "always"))
    settings = {
        "plain step": {},
        "all tasks in a step": {"phases.0.task_schedule": "sum_of_losses"},
        "SMART": smart,
        "SMART on half of the batch": smart | {"objective.smart.batch_share": 0.5},
        "3 of 6 layers frozen, computed": half | never,
        "3 of 6 layers frozen, from the cache": half | always,
        "heads alone, encoder computed": heads | never,
        "heads alone, from the cache": heads | always,
    }
    entries = {name: Entry(OurTrainer, (one, assignments), 1) for name, assignments in settings.items()}
    return entries | {"scoring dev": Entry(OurEvaluation, (one,), 1)}


def searches(workload: Workload) -> dict[str, Startable]:
    """Whole searches: same space, seed, trials, reports, rungs and examples of a full trial; a trial on each core."""
    from benchmarks.commands import ProgramEntry
    from benchmarks.whole_search import OurSearch, PlainSearch

    own = SearchWorkload(source=workload.source, concurrency=workload.num_threads)
    return {
        "plain stack": ProgramEntry(PlainSearch(own)),
        "tritune": ProgramEntry(OurSearch(own)),
    }


def starts(_workload: Workload) -> dict[str, Startable]:
    """A worker's process from its start to its first training step, on the sample; the warm-up makes its tokens."""
    from benchmarks.commands import ProgramEntry
    from benchmarks.worker_start import FirstStep

    return {
        "transformers, a plain loop": ProgramEntry(FirstStep("benchmarks.peers.first_step")),
        "tritune": ProgramEntry(FirstStep("benchmarks.first_step")),
    }


def ledgers(_workload: Workload) -> dict[str, Startable]:
    """A trial's ask, report and tell beside few trials and beside many."""
    from benchmarks.commands import ProgramEntry
    from benchmarks.large_ledger import LargeLedger

    return {f"{num:,} trials": ProgramEntry(LargeLedger(num)) for num in (100, 1000, 5000, 10_000)}


def drivers(_workload: Workload) -> dict[str, Startable]:
    """The driver while many trials report each second."""
    from benchmarks.commands import ProgramEntry
    from benchmarks.simulated_driver import SimulatedDriver

    return {f"{num} simulated trials": ProgramEntry(SimulatedDriver(num, 40)) for num in (8, 64)}


def _rate(run: Run) -> float:
    return run.rate


def _rate_an_hour(run: Run) -> float:
    return run.rate * 3600


def _seconds(run: Run) -> float:
    return run.seconds


def _milliseconds(run: Run) -> float:
    return run.seconds * 1000


def _percent_of_a_core(run: Run) -> float:
    return 100 * run.more["CPU s a second"]


GROUPS = {
    "peers": Group(peers, "tokens/s", _rate, rounds=3),
    "techniques": Group(techniques, "tokens/s", _rate, rounds=3),
    "search": Group(searches, "trials/hour", _rate_an_hour, rounds=1, warm_ups=0),
    "start": Group(starts, "s to a step", _seconds, rounds=5),
    "ledger": Group(ledgers, "ms a trial", _milliseconds, rounds=1, warm_ups=0),
    "driver": Group(drivers, "% of a core", _percent_of_a_core, rounds=1, warm_ups=0),
}
