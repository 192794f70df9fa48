"""`python -m search_spaces.list`: the spaces and studies there are, a study's rows, and what they cost."""

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from search_spaces.registry import SPACES, STUDIES, find_study
from search_spaces.study import Study, StudyRow
from trainables.config import TrialConfig
from trainables.parts import ConfigError
from trainables.plain_files import dump_yaml

_WIDTH = 400
"""Columns; narrower than that, a terminal wraps lines and the tables stay whole."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def cost(study: Study) -> float:
    """What training all rows of a study once costs, counted in runs of its longest row."""
    return sum(study.share(row) for row in study.rows)


def row_config(study: Study, row: StudyRow) -> TrialConfig:
    """The whole config of a row, with the paper's own number of examples where it says one."""
    base = TrialConfig.parse({"tasks": study.tasks, "budget_examples": study.longest})
    return study.config(row, base)


def _list_all(console: Console) -> None:
    spaces = Table("space", "dimensions", "what varies", box=None, pad_edge=False)
    for space in SPACES.values():
        spaces.add_row(space.name, str(len(space.dimensions)), space.title)
    studies = Table("study", "rows", "cost", "paper saw", "table", "what it compares", box=None, pad_edge=False)
    for study in STUDIES.values():
        said = study.longest
        studies.add_row(
            study.name,
            str(len(study.rows)),
            f"{cost(study):.1f}",
            f"{said:,} examples" if said else "not said",
            study.section,
            study.title,
        )
    console.print(spaces)
    console.print()
    console.print(studies)
    console.print(
        "\ncost: full trials for one seed of all rows; --budget: examples of a full trial (default: one pass over the data)"
    )
    console.print(
        "rows of a study: python -m search_spaces.list STUDY; a row's config: python -m search_spaces.list STUDY --row ROW"
    )
    console.print("train them: python -m tuner.search --study STUDY --data DIR")


def _list_rows(console: Console, study: Study) -> None:
    metrics = list(dict.fromkeys(metric for row in study.rows for metric in row.printed))
    table = Table("row", "title", *metrics, "cost", box=None, pad_edge=False)
    table.add_column("settings of its own", no_wrap=True)
    for row in study.rows:
        figures = (f"{row.printed[metric]:.3f}" if metric in row.printed else "-" for metric in metrics)
        own = ", ".join(
            [*map(_setting, row.settings.items()), *(f"teacher of {task}: {name}" for task, name in row.teachers.items())]
        )
        table.add_row(row.name, row.title, *figures, f"{study.share(row):.2f}", own or "none")
    console.print(f"{study.name}: {study.title} ({study.section}); figures as printed, overall is the paper's {study.overall}\n")
    console.print(table)
    for sentence in study.departures:
        console.print(f"differs from the paper: {sentence}")


def _setting(item: tuple[str, object]) -> str:
    """`path=value`, mappings and lists in brackets."""
    path, value = item
    return f"{path}={_short(value)}"


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return f"({' '.join(f'{key}={_short(inner)}' for key, inner in value.items())})"
    return f"[{', '.join(map(_short, value))}]" if isinstance(value, list | tuple) else str(value)


@app.command(help="List spaces and studies, the rows of a study with the paper's figures, or the whole config of a row.")
def main(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Name of a study: its rows.")] = None,
    row: Annotated[str | None, typer.Option(help="Name of a row of it: its whole config, as YAML.")] = None,
) -> None:
    """Looks it up and prints it."""
    console = Console(highlight=False, soft_wrap=True, markup=False, width=_WIDTH)
    try:
        if study is None and row is not None:
            raise ConfigError([f"--row: {row!r} is a row of a study, which must be named before it"])
        if study is None:
            _list_all(console)
        elif row is None:
            _list_rows(console, find_study(study))
        else:
            found = find_study(study)
            found.only([row])  # complains where there is none
            tree = row_config(found, found.by_name[row]).to_tree()
            typer.echo(dump_yaml(tree), nl=False)
    except ConfigError as error:
        typer.echo("\n".join(error.problems), err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app()
