"""Three hosts on this machine, and a Ray cluster on them: `--runcluster`, as `make test-cluster` does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import Hosts, made_hosts, what_is_missing
from tests.cluster.ray_up import OnPrem, fit_to
from tests.end_to_end.conftest import write_small_data

NAMES = ("alpha", "beta", "gamma")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Three hosts with a shared folder; `/mnt/shared/data` holds CS224N's files with a few rows."""
    if missing := what_is_missing():
        pytest.skip(missing)
    with made_hosts(NAMES, tmp_path_factory.mktemp("hosts")) as made:
        (made.shared / "data").mkdir()
        (made.shared / "runs").mkdir()
        write_small_data(made.shared / "data")
        yield made


@pytest.fixture(scope="module")
def cluster(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnPrem]:
    """A cluster on the hosts that all of them have joined."""
    folder: Path = tmp_path_factory.mktemp("up")
    made = OnPrem(hosts, fit_to(hosts, folder))
    made.up()
    yield made
    made.down()
