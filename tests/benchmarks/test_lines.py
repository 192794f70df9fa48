from collections.abc import Mapping

from rich.console import Console

from benchmarks.groups import GROUPS, Group
from benchmarks.lines import draw, measure
from benchmarks.measuring import Run, Runner
from benchmarks.workload import Workload


class Fixed:
    """Has the same turn again and again."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def start(self) -> list[Runner]:
        return [self]

    def begin(self) -> None:
        pass

    def end(self) -> Run:
        return self.run

    def close(self) -> None:
        pass


def entries(_: Workload) -> Mapping[str, Fixed]:
    return {"slow": Fixed(Run(4, 8, 2**21, {"examples": 4000})), "fast": Fixed(Run(4, 2, 2**22, {"examples": 1}))}


def test_a_group_has_its_own_figure_and_rounds() -> None:
    group = Group(entries, "s", lambda run: run.seconds, rounds=3)
    slow, fast = measure("start", group, Workload())
    assert (slow.unit, slow.rounds, slow.figure.median, slow.ratio.median) == ("s", 3, 8, 1)
    assert (fast.figure.median, fast.ratio.median, fast.memory_bytes, fast.more) == (2, 0.25, 2**22, {"examples": 1})
    assert measure("start", group, Workload(), rounds=1)[0].rounds == 1


def test_the_table_shows_all_figures() -> None:
    group = Group(entries, "trials/hour", lambda run: run.rate * 3600, rounds=1)
    console = Console(width=160)
    with console.capture() as shown:
        console.print(draw(measure("search", group, Workload())))
    for word in ("trials/hour", "beside slow", "examples", "1,800", "7,200", "4.00", "4,000"):
        assert word in shown.get()


def test_every_group_makes_its_entries() -> None:
    for group in GROUPS.values():
        assert len(group.entries(Workload())) > 1 and group.rounds > 0
