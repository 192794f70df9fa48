"""The scorecard's rows: what each test fills in, shown as one table at the end.

A test fills in a row in one of two ways.  Under the marker `row(number, title, recovered="")` each test that is run is a run of
the row and each that fails a failure, together with all tests of that number and title; `shared_row` is for its seconds and
notes.  Or it makes a row of its own by the fixture `row`, and counts for itself.
"""

import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Bench, bench, make_bench, small_data  # noqa: F401  fixtures
from tests.faults import processes
from tests.faults.scorecard import Row, markdown, write

_ROWS = pytest.StashKey[list[Row]]()
_OWN_ROWS = pytest.StashKey[list[Row]]()
ROW_SECONDS = 3 * 3600
"""A hung row ends some time; nothing here is a matter of speed."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = []
    for item in items:
        if marker := item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.timeout(ROW_SECONDS))
            if config.getoption("--runfaults") == "quick" and not marker.kwargs.get("quick", True):
                left_out.append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.config.getoption("--runfaults"):
        _fill_in(item, report)
    return report


def _fill_in(item: pytest.Item, report: pytest.TestReport) -> None:
    """Counts one phase of a test in its row; a test that fails leaves no row of its own without a failure."""
    own = item.stash.get(_OWN_ROWS, [])
    filled = own[-1] if own else _shared_row(item)
    if filled is None:
        return
    if not own and report.when == "call" and not report.skipped:
        filled.runs += 1
    if report.skipped:
        filled.notes.append(f"{item.name} was skipped: {report.longrepr[-1] if isinstance(report.longrepr, tuple) else ''}")
    if report.failed and not (own and filled.failures):
        filled.failures.append(f"{item.name}: {_sentence(report)}")


def _sentence(report: pytest.TestReport) -> str:
    """What a failure comes to, on one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    return " ".join(text.split("\n", 1)[0].split())[:300]


def _shared_row(item: pytest.Item) -> Row | None:
    """The row that a test's marker names, with all others of its number and title; None where it has no marker."""
    marker = item.get_closest_marker("row")
    if marker is None:
        return None
    made = Row(*marker.args, **marker.kwargs)
    rows = item.config.stash[_ROWS]
    if (found := next((row for row in rows if (row.number, row.title) == (made.number, made.title)), None)) is None:
        rows.append(found := made)
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[_ROWS]
    if not rows or not config.getoption("--runfaults"):
        return
    terminalreporter.section("scorecard")
    terminalreporter.write(markdown(rows))
    if stem := config.getoption("--scorecard"):
        write(rows, Path(stem))


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[..., Row]:
    """Makes a row of the scorecard that a test fills in by itself."""

    def make(number: int, title: str, recovered: str = "") -> Row:
        made = Row(number, title, recovered)
        request.config.stash[_ROWS].append(made)
        request.node.stash.setdefault(_OWN_ROWS, []).append(made)
        return made

    return make


@pytest.fixture
def shared_row(request: pytest.FixtureRequest) -> Row:
    """The row that a test's marker names, for its seconds and notes."""
    found = _shared_row(request.node)
    assert found is not None, "wants the marker `row`"
    return found


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether all runs of a row are asked for, and not a few."""
    return bool(request.config.getoption("--runfaults") == "full")


@pytest.fixture
def marked_bench(make_bench: Callable[[str], Bench]) -> Iterator[Bench]:  # noqa: F811
    """A bench whose processes can be told from all others; none of them is left behind."""
    bench = make_bench("faults")  # noqa: F811
    mark = uuid.uuid4().hex
    bench.environment[processes.MARK] = mark
    yield bench
    processes.end_all(mark)
