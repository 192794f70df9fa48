"""What was measured, as lines of a table."""

from dataclasses import dataclass

from rich.table import Table

from benchmarks.groups import Group
from benchmarks.measuring import Spread, alternate, ratios, spread
from benchmarks.workload import Workload


@dataclass(frozen=True)
class Line:
    """What was measured under one name.

    Attributes:
        group: of entries that took turns.
        name: of the entry.
        unit: of the figure.
        rounds: that it was measured in.
        figure: such as tokens without padding a second.
        ratio: of the figure to that of the group's first entry.
        memory_bytes: of its largest process, what it shares with others included.
        more: further figures, medians.
    """

    group: str
    name: str
    unit: str
    rounds: int
    figure: Spread
    ratio: Spread
    memory_bytes: int
    more: dict[str, float]


def measure(name: str, group: Group, workload: Workload, rounds: int | None = None) -> list[Line]:
    """The lines of one group; in as many rounds as is said, or as is the group's own number."""
    runs = alternate(group.entries(workload), rounds=rounds or group.rounds, warm_ups=group.warm_ups)
    figures = {entry: [group.figure(run) for run in own] for entry, own in runs.items()}
    first = next(iter(runs))
    return [
        Line(
            group=name,
            name=entry,
            unit=group.unit,
            rounds=len(own),
            figure=spread(figures[entry]),
            ratio=ratios(figures, entry, first),
            memory_bytes=max(run.memory_bytes for run in own),
            more={key: spread([run.more[key] for run in own]).median for key in own[0].more},
        )
        for entry, own in runs.items()
    ]


def draw(lines: list[Line]) -> Table:
    """The table of one group's lines, of which there is at least one: a row a line, or a column where they have many figures."""
    first = lines[0]
    cells = [_cells(line, beside=first.name) for line in lines]
    if first.more:
        table = Table(first.group, *(line.name for line in lines))
        for heading in cells[0]:
            table.add_row(heading, *(own[heading] for own in cells))
        return table
    table = Table(first.group, *cells[0])
    for line, own in zip(lines, cells, strict=True):
        table.add_row(line.name, *own.values())
    return table


def _cells(line: Line, beside: str) -> dict[str, str]:
    """Headings and what stands under them."""
    figure = line.figure
    return {
        line.unit: _short(figure.median),
        "lowest to highest": f"{_short(figure.low)} to {_short(figure.high)}",
        f"beside {beside}": f"{line.ratio.median:.2f}",
        "memory, MiB": f"{line.memory_bytes >> 20:,}",
        **{heading: _short(value) for heading, value in line.more.items()},
    }


def _short(value: float) -> str:
    """Three digits where it is small, whole numbers where it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
