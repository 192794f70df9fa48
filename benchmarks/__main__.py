"""`python -m benchmarks`: our trainer beside others' in one run, and what its techniques cost; one table, and JSON."""

import datetime
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import Entry, Spread, alternate, ratios, spread
from benchmarks.workload import Workload
from trainables.config import TrialConfig
from trainables.inputs import open_inputs
from trainables.parts import ConfigError

_PACKAGES = ("torch", "transformers", "accelerate", "numpy")


@dataclass(frozen=True)
class Line:
    """What was measured under one name.

    Attributes:
        group: of entries that took turns.
        name: of the entry.
        rate: tokens without padding a second.
        ratio: to the first entry of the group.
        memory_bytes: of its largest process, what it shares with others included.
    """

    group: str
    name: str
    rate: Spread
    ratio: Spread
    memory_bytes: int


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
    never, always = ({"encoder.frozen_cache": how} for how in ("never", "always"))
    settings = {
        "plain step": {},
        "all tasks in a step": {"phases.0.task_schedule": "sum_of_losses"},
        "SMART": {"objective.smart.enabled": True},
        "3 of 6 layers frozen, computed": half | never,
        "3 of 6 layers frozen, from the cache": half | always,
        "heads alone, encoder computed": heads | never,
        "heads alone, from the cache": heads | always,
    }
    entries = {name: Entry(OurTrainer, (one, assignments), 1) for name, assignments in settings.items()}
    return entries | {"scoring dev": Entry(OurEvaluation, (one,), 1)}


GROUPS = {"peers": peers, "techniques": techniques}


def measure(group: str, workload: Workload, rounds: int) -> list[Line]:
    """The lines of one group."""
    entries = GROUPS[group](workload)
    runs = alternate(entries, rounds=rounds)
    first = next(iter(entries))
    return [
        Line(group, name, spread([run.rate for run in own]), ratios(runs, name, first), max(run.memory_bytes for run in own))
        for name, own in runs.items()
    ]


def machine() -> Mapping[str, str]:
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    packages = {name: version(name) for name in _PACKAGES}
    return {"processor": f"{model}, {os.cpu_count()} cores, {' '.join(wide)}", "python": platform.python_version(), **packages}


def draw(lines: list[Line], group: str) -> Table:
    """One group's table."""
    own = [line for line in lines if line.group == group]
    table = Table(group, "tokens/s", "lowest to highest", f"beside {own[0].name}", "memory, MiB")
    for line in own:
        rate = line.rate
        table.add_row(
            line.name,
            f"{rate.median:,.0f}",
            f"{rate.low:,.0f} to {rate.high:,.0f}",
            f"{line.ratio.median:.2f}",
            f"{line.memory_bytes >> 20:,}",
        )
    return table


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[str, typer.Option(help="`sample`, or a folder with the CS224N files")] = "sample",
    rounds: Annotated[int, typer.Option(min=1, help="turns of each entry; its median is shown")] = 5,
    only: Annotated[str, typer.Option(help=f"one of {', '.join(GROUPS)}; empty: all")] = "",
    out: Annotated[Path, typer.Option(help="where the figures go as JSON")] = Path("runs/benchmarks.json"),
) -> None:
    """Measures and shows."""
    if only and only not in GROUPS:
        raise typer.BadParameter(f"one of {', '.join(GROUPS)} must be given, but got {only!r}", param_hint="--only")
    try:
        open_inputs(TrialConfig().override({"data.source": data}))
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--data") from None
    workload = Workload(source=data, num_threads=os.cpu_count() or 1)
    console, lines = Console(), []
    about = {"date": datetime.date.today().isoformat(), "data": data, "rounds": rounds, **machine()}
    console.print(", ".join(f"{key} {value}" for key, value in about.items()), highlight=False)
    for group in [only] if only else GROUPS:
        lines += measure(group, workload, rounds)
        console.print(draw(lines, group))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"about": about, "lines": [asdict(line) for line in lines]}, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {out}", highlight=False)


if __name__ == "__main__":
    app()
