"""For all tests: a cache of their own, slow tests only where they are asked for, and no property is timed."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.postgresql import url  # noqa: F401  a fixture
from tests.s3_server import s3  # noqa: F401  a fixture

WITH_RAY = {"test_cluster.py", "test_cluster_join.py", "test_trainable.py"}
LONG = {"test_tracking.py", "test_any_config.py", "test_applied.py", "test_study_rows.py", "test_trainer.py"}
"""Begun first, so that no worker is left with one of them at the end."""

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's `&` leaves it: what tests start would not hear their Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run the tests that take minutes, too")
    parser.addoption("--runfaults", choices=["quick", "full"], help="run the scorecard's rows, too: a few runs of each, or all")
    parser.addoption("--scorecard", metavar="STEM", help="write what came of the scorecard's rows to STEM.md and STEM.json")
    parser.addoption("--runui", action="store_true", help="run the tests that look at MLflow's pages in a browser, too")
    parser.addoption("--screenshot", metavar="FILE", help="where such a test puts its picture of MLflow's Compare page")
    parser.addoption("--runcluster", action="store_true", help="run the tests on three hosts made of namespaces (root), too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not (_starts_ray(item.path) or item.path.name in LONG))  # stable: others as they were
    for marker, reason in {
        "slow": "takes minutes; run with --runslow",
        "faults": "takes minutes; run with --runfaults",
        "cluster": "makes three hosts; run with --runcluster",
        "ui": "starts a browser and takes a minute; run with --runui",
    }.items():
        for item in items:
            if item.get_closest_marker(marker) and not config.getoption(f"--run{marker}"):  # keywords hold the folder's name, too
                item.add_marker(pytest.mark.skip(reason=reason))


class FilesAndRay(LoadScopeScheduling):
    """What one worker runs in turn: the tests of a file, which share fixtures; or all that start Ray, for it wants all cores."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        return "ray" if _starts_ray(path) else str(path)


def _starts_ray(path: Path) -> bool:
    return path.parent.name in {"end_to_end", "faults"} or path.name in WITH_RAY


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndRay:
    return FilesAndRay(config, log)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
