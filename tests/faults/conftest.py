"""The scorecard's rows: what each test fills in, shown as one table at the end."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Bench, bench, make_bench, small_data  # noqa: F401  fixtures
from tests.faults import processes
from tests.faults.scorecard import Row, markdown, write

_ROWS = pytest.StashKey[list[Row]]()
ROW_SECONDS = 3 * 3600
"""A hung row ends some time; nothing here is a matter of speed."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.timeout(ROW_SECONDS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[_ROWS]
    if not rows:
        return
    terminalreporter.section("scorecard")
    terminalreporter.write(markdown(rows))
    if stem := config.getoption("--scorecard"):
        write(rows, Path(stem))


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[..., Row]:
    """Makes the row of the scorecard that a test fills in."""

    def make(number: int, title: str, recovered: str = "") -> Row:
        made = Row(number, title, recovered)
        request.config.stash[_ROWS].append(made)
        return made

    return make


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
