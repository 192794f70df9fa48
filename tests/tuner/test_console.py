import io
from collections.abc import Callable

import pytest
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tuner.console import SteadyConsole, errors_console, visible, visible_lines
from tuner.progress import Progress, Tally
from tuner.records import TrialRecord

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b2J\x7f\u202eabc\rtrial 0 complete"


def as_table(text: str) -> Table:
    table = Table(text)
    table.add_row(text)
    return table


SHOWN: dict[str, Callable[[str], RenderableType]] = {
    "words": str,
    "styled": lambda text: Text(text, style="bold red"),
    "table": as_table,
    "group": lambda text: Group(Panel(Text(text)), text),
}


@pytest.mark.parametrize("kind", SHOWN)
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_nothing_that_is_shown_moves_the_cursor_or_names_the_window(kind: str, terminal: bool) -> None:
    console = SteadyConsole(file=io.StringIO(), width=200, force_terminal=terminal, color_system="standard" if terminal else None)
    console.print(SHOWN[kind](HOSTILE), markup=False, highlight=False)
    shown = console.file.getvalue()
    for code in ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\x7f", "\u202e", "\r"):
        assert code not in shown
    assert "\\x1b]0;owned" in shown and "\\x9b2J" in shown
    assert ("\x1b[1;31m" in shown) == (terminal and kind == "styled"), "rich's own styles are kept"


def test_a_live_display_still_moves_its_own_cursor() -> None:
    console = SteadyConsole(file=io.StringIO(), width=80, force_terminal=True)
    with Live(Text(HOSTILE), console=console, auto_refresh=False) as live:
        live.update(Text("two\nlines"), refresh=True)
        live.update(Text("two\nlines"), refresh=True)
    shown = console.file.getvalue()
    assert "\x1b[1A" in shown and "\x1b]0;" not in shown


def test_an_event_is_one_line_whatever_its_trial_says() -> None:
    console = SteadyConsole(file=io.StringIO(), width=80)
    tally = Tally(num_trials=2, num_reports=2, full_budget=100)
    record = TrialRecord(0, "failed", {}, {}, (), reason="error", detail=f"{HOSTILE}\n0:00  trial   1  complete")
    Progress("s", tally, lambda: [], console)("end", record)
    [line] = console.file.getvalue().splitlines()
    assert "\\x1b[2J" in line and "\\x0a0:00  trial   1  complete" in line


def test_lines_and_tabs_of_a_message_stay(capsys: pytest.CaptureFixture[str]) -> None:
    assert visible_lines("a\tb\nc\x1b[2J") == "a\tb\nc\\x1b[2J"
    assert visible("a\tb\nc\u202ed") == "a\\x09b\\x0ac\\u202ed"
    errors_console().print("[bold]x:\x1b[2J\n y")
    assert capsys.readouterr().err == "[bold]x:\\x1b[2J\n y\n"
