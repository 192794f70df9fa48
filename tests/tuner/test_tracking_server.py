import itertools
from pathlib import Path

from tuner.tracking_server import CLOSED, server_command, server_environment, store_in


def test_a_server_answers_to_its_own_address_alone() -> None:
    command = server_command("sqlite:////runs/mlflow.db", Path("/runs/mlartifacts"), 5123)
    given = dict(itertools.pairwise(command))
    assert given["--host"] == "127.0.0.1"
    assert given["--allowed-hosts"] == "127.0.0.1:5123,localhost:5123"
    assert given["--cors-allowed-origins"] == "http://127.0.0.1:5123,http://localhost:5123"
    assert "*" not in "".join(command)


def test_the_environment_cannot_open_it_again() -> None:
    opened = {"MLFLOW_SERVER_ALLOWED_HOSTS": "*", "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true", "PATH": "/bin"}
    opened |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true"}
    assert server_environment(opened) == {"PATH": "/bin", **CLOSED}


def test_the_store_of_a_folder(tmp_path: Path) -> None:
    assert store_in(tmp_path) is None
    (tmp_path / "mlflow.db").touch()
    assert store_in(tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
