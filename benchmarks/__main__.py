"""`python -m benchmarks`: our search, trainer and worker beside others' in one run; one table a group, and JSON."""

import datetime
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.groups import GROUPS
from benchmarks.lines import Line, draw, measure
from benchmarks.workload import Workload
from trainables.config import TrialConfig
from trainables.inputs import open_inputs
from trainables.parts import ConfigError

_PACKAGES = ("torch", "transformers", "accelerate", "numpy", "ray", "optuna", "mlflow")
_ROUNDS = ", ".join(f"{name} {group.rounds}" for name, group in GROUPS.items())


def machine() -> Mapping[str, str]:
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    packages = {name: version(name) for name in _PACKAGES}
    return {"processor": f"{model}, {os.cpu_count()} cores, {' '.join(wide)}", "python": platform.python_version(), **packages}


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[str, typer.Option(help="`sample`, or a folder with the CS224N files")] = "sample",
    rounds: Annotated[
        int | None, typer.Option(min=1, help=f"turns of each entry, whose median is shown; default: {_ROUNDS}")
    ] = None,
    only: Annotated[str, typer.Option(help=f"one of {', '.join(GROUPS)}; empty: all")] = "",
    out: Annotated[Path, typer.Option(help="where the figures go as JSON")] = Path("runs/benchmarks.json"),
) -> None:
    """Measures and shows.  A GPU is left alone, so that all that stand side by side compute on the same processor."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if only and only not in GROUPS:
        raise typer.BadParameter(f"one of {', '.join(GROUPS)} must be given, but got {only!r}", param_hint="--only")
    try:
        open_inputs(TrialConfig().override({"data.source": data}))
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--data") from None
    workload = Workload(source=data, num_threads=os.cpu_count() or 1)
    console, lines = Console(), list[Line]()
    about = {"date": datetime.date.today().isoformat(), "data": data, **machine()}
    console.print(", ".join(f"{key} {value}" for key, value in about.items()), highlight=False)
    for name in [only] if only else GROUPS:
        of_group = measure(name, GROUPS[name], workload, rounds)
        console.print(draw(of_group))
        lines += of_group
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"about": about, "lines": [asdict(line) for line in lines]}, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {out}", highlight=False)


if __name__ == "__main__":
    app()
