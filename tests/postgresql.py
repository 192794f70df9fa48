"""A PostgreSQL server for tests, in a folder of its own, reached by a socket in that folder alone."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

_UNPRIVILEGED = "nobody"


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`: Debian's, or one of the path; None where there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    found = shutil.which("initdb")
    return debian[-1].parent if debian else Path(found).resolve().parent if found else None


@contextlib.contextmanager
def running_server(bin_folder: Path) -> Iterator[str]:
    """A server; gives the URL of an empty database in it, without a password: its socket lets its own user in."""
    user = _UNPRIVILEGED if os.getuid() == 0 else None  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
            folder.chmod(0o700)
        data = folder / "data"
        run = partial(subprocess.run, check=True, user=user, stdout=subprocess.DEVNULL, cwd=folder)
        run([bin_folder / "initdb", "-D", data, "-U", "tritune", "-A", "trust", "--no-sync"])
        server = [bin_folder / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        run([*server, "-o", options, "start"])
        try:
            yield f"postgresql://tritune@/postgres?host={folder}"
        finally:
            run([*server, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of an empty database."""
    found = programs()
    assert found is not None
    with running_server(found) as running:
        yield running


needs_server = pytest.mark.skipif(programs() is None, reason="no PostgreSQL server is installed (Debian: postgresql)")
