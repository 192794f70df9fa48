"""MLflow's store: where it lies, how it is opened and, where it is a file, made.

MLflow is imported late, because that takes seconds; `set_environment` comes before it.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import sqlalchemy

from tuner.settings import SQLITE, sqlite_url

EXPERIMENT = "tritune"
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # opens the UI at training runs, not at traces
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # ours read back first: a request that was retried blindly may make a run twice
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


def default_tracking_uri(search_folder: Path) -> str:
    """The store that all searches beside this one share: `mlflow.db` in the folder that the search's folder lies in."""
    return sqlite_url(search_folder.resolve().parent / "mlflow.db")


def connect(uri: str) -> tuple[Any, str]:
    """A client and the id of the experiment; both are made where they are missing, by one process at a time."""
    set_environment()
    from mlflow import MlflowClient

    with _only_maker(uri):
        client = MlflowClient(tracking_uri=uri)
        return client, _experiment_id(client, uri)


@contextlib.contextmanager
def _only_maker(uri: str) -> Iterator[None]:
    """Lets one search at a time make what is missing in a SQLite store."""
    if not uri.startswith(SQLITE):
        yield
        return
    path = file_of(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock", timeout=60):
        if not path.exists():
            make_store(path)
        yield


def make_store(path: Path) -> None:
    """A new SQLite store, made aside and renamed: one whose making was cut short would never be opened again.

    It gets a write-ahead log: whoever reads, such as MLflow's UI, does not make the mirror wait, and commits cost a half.
    """
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    making = path.with_name(f"{path.name}.making")
    for left in path.parent.glob(f"{making.name}*"):
        left.unlink()
    engine = create_sqlalchemy_engine(sqlite_url(making))
    _initialize_tables(engine)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(making)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    making.rename(path)


def file_of(sqlite_uri: str) -> Path:
    """The file of a SQLite store."""
    return Path(sqlalchemy.make_url(sqlite_uri).database or "")


def set_environment() -> None:
    """Bounds MLflow's waiting and closes what is open by default, before it is imported; what the user set stands."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _experiment_id(client: Any, uri: str) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        folder = file_of(uri).resolve().parent / "mlartifacts" if uri.startswith(SQLITE) else None
        try:
            location = folder.as_uri() if folder else None
            return str(client.create_experiment(EXPERIMENT, artifact_location=location, tags=_EXPERIMENT_TAGS))
        except Exception:  # another search was faster
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)
