"""`python -m reports.build DIR`: what was learnt in a search, as one page that opens from disk.

All figures are read from the ledger; what the exported model gets wrong also from `best/`, and texts from the data's files.
Exit codes: 0 done; 2 a mistake in what was asked for, and nothing was written.
"""

import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Annotated

import typer

from reports import sections_checks as checks
from reports import sections_scores as scores
from reports.drawing import plotly_js
from reports.page import MARK, Section, page
from reports.search import Search, read_search
from reports.sections_parameters import all_of_parameters
from trainables.files import write_atomically
from trainables.parts import ConfigError
from trainables.secrecy import keep_files_private
from tuner.console import errors_console, visible
from tuner.search_folder import REPORT_FILE

_HEAD_BYTES = 4096
_MARK = re.compile(rf'<meta name="{MARK}" content="([^"]*)">')


def build_report(folder: Path, out: Path | None = None, *, live: bool | None = None) -> Path:
    """Writes the report of a search.

    Args:
        folder: of the search.
        out: the file to write, new or an earlier report of this search; None: the folder's `report.html`.
        live: whether what has not ended is running; None: whether a driver is at work on it.

    Returns:
        The file written.

    Raises:
        LedgerError: no search there, or none that can be read.
        ConfigError: `out` is something else.
        OSError: it cannot be written.
    """
    search, file = read_search(folder, live=live), out or folder / REPORT_FILE
    if problems := problems_of_out(file, search.id):
        raise ConfigError(problems)
    title = f"{search.name}: what the search found"
    text = page(title, search.id, all_sections(search, file), plotly_js())
    write_atomically(file, text.encode("utf-8"))
    return file


def all_sections(search: Search, out: Path) -> Sequence[Section]:
    """The report, section by section.

    Args:
        search: that it is of.
        out: the page's file, from which links lead.
    """
    return (
        scores.winner(search),
        scores.leaderboard(search),
        scores.progress(search),
        scores.learning_curves(search),
        scores.tasks(search),
        *all_of_parameters(search),
        checks.audit(search),
        checks.failed(search, out),
        checks.mistakes(search),
        checks.conflicts(search),
        checks.planned(search),
        checks.lineage(search),
    )


def problems_of_out(out: Path, search: str) -> list[str]:
    """Why no report may be written at `out`: a sentence, or none where it is new or an earlier report of this search."""
    if out.is_symlink():
        return [f"--out: {out} is a link; a file of its own must be given"]
    if not out.exists():
        parent = out.absolute().parent
        return [] if parent.is_dir() else [f"--out: {parent}: no such folder"]
    if not out.is_file():
        return [f"--out: {out} is no file; a new one, or an earlier report of this search, must be given"]
    with out.open("rb") as file:
        found = _MARK.search(file.read(_HEAD_BYTES).decode("utf-8", errors="replace"))
    if found is None or unescape(found[1]) != visible(search):
        what = "a report of another search" if found else "no report"
        return [f"--out: {out} is {what}; a new file, or an earlier report of this search, must be given"]
    return []


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help="Write what was learnt in a search as one page that opens from disk, without a network.")
def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a search, such as runs/night1.")],
    out: Annotated[Path | None, typer.Option(help="file to write [DIR/report.html]")] = None,
) -> None:
    """Writes it, and says where."""
    try:
        written = build_report(folder, out)
    except (ValueError, OSError) as error:
        errors_console().print(f"error: {error}")
        raise typer.Exit(2) from None
    typer.echo(visible(f"{written}: {written.stat().st_size / 1e6:.1f} MB, opens in any browser"))


if __name__ == "__main__":
    keep_files_private()
    app()
