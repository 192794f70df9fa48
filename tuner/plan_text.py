"""A plan for people: sections of lines and tables, drawn on a terminal or as plain aligned text for a pipe."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import starmap

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from tuner.console import visible
from tuner.plan import Plan
from tuner.plan_simulation import Span
from tuner.room import in_words
from tuner.tables import Column, align, draw

_INDENT = (0, 0, 0, 2)
_VAGUE_KEYS = frozenset({"enabled", "rank", "mu", "batch_share"})
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Section:
    """A heading, lines, and perhaps a table below them."""

    title: str
    lines: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()


def sections(plan: Plan) -> list[Section]:
    """All of a plan."""
    return [
        _space(plan),
        _expected(plan),
        *([_rungs(plan)] if plan.rungs else []),
        _workers(plan),
        _machines(plan),
        _timed(plan),
        Section("Taken for granted", tuple(f"- {line}" for line in plan.assumptions)),
    ]


def plain(plan: Plan) -> str:
    """Aligned text."""
    blocks = []
    for section in sections(plan):
        table = [f"  {line}" for line in align(section.columns)] if section.columns else []
        blocks.append("\n".join([section.title, *(f"  {visible(line)}" for line in section.lines), *table]))
    return "\n\n".join(blocks)


def render(plan: Plan) -> RenderableType:
    """For a terminal."""
    parts: list[RenderableType] = []
    for section in sections(plan):
        parts += [Text(section.title, style="bold"), *(Padding(Text(visible(line)), _INDENT) for line in section.lines)]
        if section.columns:
            parts.append(Padding(draw(section.columns, [""] * len(section.columns[0].cells)), _INDENT))
        parts.append(Text())
    return Group(*parts[:-1])


def _space(plan: Plan) -> Section:
    space = plan.space
    number = int(space.num_combinations)
    size = f"{number:,}" if number < 10**9 else f"{number:.1e}"
    ranges = f", times {space.num_ranges} ranges of real numbers" if space.num_ranges else ""
    line = f"{len(space.dimensions)} dimensions: {size} combinations{ranges}"
    width = max((len(dimension.name) for dimension in space.dimensions), default=0)
    rows = (
        f"{dimension.name:<{width}}  {dimension.values}{f'  where {dimension.condition}' if dimension.condition else ''}"
        for dimension in space.dimensions
    )
    return Section(f"Space {space.name}", (line, *rows))


def _expected(plan: Plan) -> Section:
    of_trials = f"{plan.trials_to_go} of {plan.trials}" if plan.trials_to_go < plan.trials else f"{plan.trials}"
    budget = " to ".join(f"{examples:,}" for examples in dict.fromkeys(plan.budgets))
    full, bounds = plan.full_trial_seconds, plan.wall_bounds
    what = f"{plan.unit}-hours"
    lines = [
        f"trials         {of_trials}, {plan.slots} at once; {plan.searcher}, {plan.early_stopping}; in full {budget} examples",
        f"a full trial   {_with_range(full, duration)} (the mean of the space; its cheapest corner to its dearest)",
        f"wall clock     {_with_range(plan.wall_seconds, duration)}",
        f"               {duration(bounds[0])} were every trial like the cheapest corner, {duration(bounds[1])} like the dearest",
        f"{what:<15}{_with_range(plan.held_hours, hours)}, of them at work {_with_range(plan.busy_hours, hours)}",
    ]
    if plan.cost is not None:
        lines.append(f"cost           {_with_range(plan.cost, money)}, at {money(plan.price or 0)} an hour of a {plan.unit}")
    lines.append(f"full budget    {_with_range(plan.complete, count)} trials; curves: {plan.curves}")
    if plan.trainings_to_confirm:
        confirm = f"{plan.trainings_to_confirm} trainings in full once the search is over"
        lines.append(f"to confirm     {confirm}: {_with_range(plan.confirm_seconds, duration)} of the wall clock")
    if plan.time_budget_seconds is not None:
        lines.append(f"time budget    trials stop after {duration(plan.time_budget_seconds)}; what is left can be resumed")
    return Section("Expected (the median; in brackets the 10th to the 90th percentile of simulated searches)", tuple(lines))


def _rungs(plan: Plan) -> Section:
    rows = plan.rungs
    columns = (
        Column("rung", tuple(f"{row.report}/{plan.num_reports}" for row in rows)),
        Column("examples", tuple(f"{row.budget:,}" for row in rows)),
        Column("trials that reach it", tuple(_with_range(row.reached, count) for row in rows)),
        Column("that go on", tuple(_with_range(row.went_on, count) for row in rows)),
    )
    return Section(f"Rungs (one trial of {plan.reduction_factor} goes on)", (), columns)


def _workers(plan: Plan) -> Section:
    rows = plan.workers
    columns = [
        Column("workers", tuple(f"{row.workers}{'*' if row.workers == plan.slots else ''}" for row in rows)),
        Column("wall clock", tuple(_with_range(row.wall_seconds, duration) for row in rows), is_number=False),
        Column(f"{plan.unit}-hours", tuple(_with_range(row.held_hours, hours) for row in rows), is_number=False),
    ]
    if plan.price is not None:
        columns.append(Column("cost", tuple(_with_range(row.cost or Span(0, 0, 0), money) for row in rows), is_number=False))
    return Section(
        "With more or fewer workers (* this search; hours until the end, of all that have something to do)", (), tuple(columns)
    )


def _machines(plan: Plan) -> Section:
    disk, memory = plan.disk_bytes, plan.memory_bytes
    lines = [
        f"peak disk      {_bytes(disk.middle)}, at most {_bytes(disk.high)} (checkpoints of running trials, kept models, ledger)",
        f"a trial        {_bytes(memory.middle)} of memory ({_bytes(memory.low)} to {_bytes(memory.high)})",
    ]
    if plan.device_memory_bytes is not None:
        of_gpu = plan.device_memory_bytes
        lines.append(f"               {_bytes(of_gpu.middle)} of GPU memory ({_bytes(of_gpu.low)} to {_bytes(of_gpu.high)})")
    for node in plan.nodes:
        need = node.slots * memory.high + node.other_bytes
        fits = (
            ""
            if not node.memory_bytes or need <= node.memory_bytes
            else ": TOO LITTLE; fewer trials at once (--concurrency) take less"
        )
        has = _bytes(node.memory_bytes) if node.memory_bytes else "not known"
        others = f" and the search's own processes, {_bytes(node.other_bytes)}," if node.other_bytes else ""
        lines.append(f"node {node.host}: {node.slots} at once{others} take up to {_bytes(need)}; it has {has}{fits}")
    return Section("Disk and memory", tuple(lines))


def _timed(plan: Plan) -> Section:
    names, rows = tuple(plan.timed), tuple(plan.timed.values())
    width = max(map(len, names))
    settings = (f"{name:<{width}}  {' '.join(starmap(_setting, row.assignment.items()))}" for name, row in plan.timed.items())
    failed = (f"{name} could not be timed: {why}" for name, why in plan.failed.items())
    columns = (
        Column("trial", names, is_number=False),
        Column("steps", tuple(str(row.timed.num_steps) for row in rows)),
        Column("examples/s", tuple(f"{1 / row.timed.seconds_per_example:.1f}" for row in rows)),
        Column("dev rows/s", tuple(f"{1 / row.timed.scoring_seconds_per_row:.0f}" for row in rows)),
        Column("checkpoint", tuple(f"{row.timed.checkpoint_seconds:.1f} s" for row in rows)),
        Column("memory", tuple(_bytes(row.timed.memory_bytes) for row in rows)),
        Column("in full", tuple(duration(row.full_seconds) for row in rows)),
    )
    return Section(f"Timed in {plan.probe_seconds:.0f} s, {plan.probe_processes} at once", (*settings, *failed), columns)


def _setting(path: str, value: object) -> str:
    """A setting by its last key, and the one before where that says too little."""
    keys = path.split(".")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{'.'.join(keys[-2:]) if keys[-1] in _VAGUE_KEYS else keys[-1]}={text}"


def _with_range(span: Span, say: Callable[[float], str]) -> str:
    low, middle, high = say(span.low), say(span.middle), say(span.high)
    return middle if low == high else f"{middle} ({low} to {high})"


def duration(seconds: float) -> str:
    """Seconds for people: `45 s`, `7 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    large, small, names = (_HOUR, _MINUTE, ("h", "min")) if seconds < 2 * _DAY else (_DAY, _HOUR, ("d", "h"))
    whole, rest = divmod(round(seconds / small), large // small)
    return f"{whole} {names[0]} {rest} {names[1]}" if rest else f"{whole} {names[0]}"


def hours(value: float) -> str:
    """Hours, with two digits that count."""
    return f"{value:.2g}" if value < 1 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def money(value: float) -> str:
    """An amount, without a currency."""
    return f"{value:,.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def count(value: float) -> str:
    """A number of trials."""
    return f"{value:,.0f}"


def _bytes(value: float) -> str:
    return in_words(int(value))
