"""The MLflow mirror: fills MLflow from the ledger, in a process of its own, so that no MLflow can slow or stop a search.

`python -m tuner.tracking follow DIR` mirrors a search while it runs; the driver starts it through `MirrorProcess`, which imports
no MLflow.  `python -m tuner.tracking sync DIR` sends what is missing, once; `serve` shows all of it (`tuner/tracking_server.py`).
Neither of the first two trusts what it remembers: after a start, and after every error, they read back what MLflow holds (runs by
the tags `tritune.search` and `tritune.trial`, points by the history of one metric) and send the rest.  What MLflow must hold says
`tuner/mirror_runs.py`, what is missing `tuner/mirror_plan.py`, how a winner gets into the model registry `tuner/registry.py`;
this is the only file that imports MLflow, and it does so late, because that takes seconds.
"""

import contextlib
import logging
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import filelock
import sqlalchemy
import typer

from trainables.parts import ConfigError
from trainables.secrecy import keep_files_private
from tuner.choosing import in_order_of_choice
from tuner.confirmation import Confirmation, confirmation_of
from tuner.console import visible_lines
from tuner.handover import exported_trial
from tuner.ledger import Ledger, first_line
from tuner.ledger_places import LedgerError, has_study
from tuner.mirror_loop import Follower, watch_parent
from tuner.mirror_plan import Create, HeldRun, Log, Operation, SetStatus, count_missing, is_whole, plan_run
from tuner.mirror_process import MirrorProcess, MirrorResult, sync_command
from tuner.mirror_runs import CHILD_CURVE, PARENT_CURVE, SEARCH_TAG, TRIAL_TAG, Artifact, WantedRun, wanted_runs
from tuner.records import TrialRecord
from tuner.registry import REGISTRATION, Registered, Winner, register, winner_of
from tuner.search_folder import BEST, RUNS, check_links, is_live
from tuner.settings import parse_tracking_uri, sqlite_url
from tuner.tracking_server import DEFAULT_PORT, HOST, become_server, store_in

__all__ = ["Mirror", "MirrorProcess", "MirrorResult", "app", "default_tracking_uri"]

EXPERIMENT = "tritune"
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # opens the UI at training runs, not at traces
_LOCK_FILE = ".mirror.lock"
_SQLITE = "sqlite:///"
_PARENT_TAG = "mlflow.parentRunId"
_REFUSED = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")
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
app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help="Shows a search in MLflow, from its ledger."
)


def default_tracking_uri(search_folder: Path) -> str:
    """The store that all searches beside this one share: `mlflow.db` in the folder that the search's folder lies in."""
    return sqlite_url(search_folder.resolve().parent / "mlflow.db")


class Mirror:
    """Sends what MLflow lacks of one search.

    Attributes:
        sent: operations done so far, by kind (`runs`, `reports`, `files`).
        settled: trials that have ended and were shown whole; none after an error other than a refused run.
        registered: what came of the last registration.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.sent: Counter[str] = Counter()
        self._uri = tracking_uri
        self._client: Any = None
        self._experiment_id = ""
        self._held: dict[int | None, HeldRun] | None = None  # None: to be read back
        self.settled: set[int] = set()
        self.registered: Registered | None = None
        self._last_known: dict[int | None, HeldRun] | None = None

    def send(self, wanted: Mapping[int | None, WantedRun]) -> None:
        """Sends all that is missing, the parent first.  A run that MLflow refuses does not keep the others back.

        Raises:
            Exception: whatever MLflow raised; what it holds is read back the next time.
        """
        held = self._last_known = self._known(wanted)
        self._held, settled, self.settled = None, self.settled, set()
        refused: dict[int | None, Exception] = {}
        for trial, run in wanted.items():
            try:
                self._send_run(trial, run, held)
            except Exception as error:
                if trial is None or getattr(error, "error_code", "") not in _REFUSED:
                    raise
                refused[trial] = error
        sent = (trial for trial, run in wanted.items() if run.is_final and trial not in refused)
        self.settled = settled | {trial for trial in sent if trial is not None}
        if refused:
            raise next(iter(refused.values()))
        self._held = held

    def register(self, winner: Winner, *, crown: bool = False) -> Registered:
        """Registers a model whose trial was sent (see `tuner.registry.register`).

        Raises:
            ConfigError: MLflow holds no run of the trial.
            Exception: whatever MLflow raised.
        """
        run = (self._held or {}).get(winner.trial)
        if run is None:
            raise ConfigError([f"trial {winner.trial} has no run in MLflow, and so its model cannot be registered"])
        self.registered = register(self._client, self._experiment_id, run.run_id, winner, crown=crown)
        return self.registered

    def count_missing(self, wanted: Mapping[int | None, WantedRun]) -> tuple[int, int]:
        """Trials and reports that MLflow lacks, as far as is known without asking; all of them where it never answered."""
        return count_missing(wanted, self._last_known)

    def _known(self, wanted: Mapping[int | None, WantedRun]) -> dict[int | None, HeldRun]:
        """What MLflow holds: as remembered since the last success, else read back."""
        if self._held is not None:
            return self._held
        if self._client is None:
            self._client, self._experiment_id = _connect(self._uri)
        return _read_back(self._client, self._experiment_id, wanted)

    def _send_run(self, trial: int | None, run: WantedRun, held: dict[int | None, HeldRun]) -> None:
        there = held.get(trial)
        if there is not None and is_whole(run, there):
            return
        if trial is not None:
            run = replace(run, tags={**run.tags, _PARENT_TAG: held[None].run_id})
        for operation in plan_run(run, there):
            self._apply(operation, trial, held)

    def _apply(self, operation: Operation, trial: int | None, held: dict[int | None, HeldRun]) -> None:
        if isinstance(operation, Create):
            run = operation.run
            made = self._client.create_run(self._experiment_id, run.start_ms or None, dict(run.tags), run.name)
            held[trial] = HeldRun(made.info.run_id, tags=dict(run.tags))
            self.sent["runs"] += 1
            return
        there = held[trial]
        if isinstance(operation, Log):
            _log_batch(self._client, there, operation)
            self.sent["reports"] += len(operation.points) if trial is not None else 0
        elif isinstance(operation, SetStatus):
            _set_status(self._client, there, operation)
        else:
            _upload(self._client, there.run_id, operation.artifact)
            self.sent["files"] += 1


@app.command()
def follow(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the search.")],
    tracking_uri: Annotated[str | None, typer.Option(help="Where MLflow is, if not where the search says.")] = None,
    parent_pid: Annotated[int | None, typer.Option(help="Process of the driver; the mirror ends with it.")] = None,
    give_up_seconds: Annotated[float, typer.Option(help="How long to go on after the search while MLflow fails.")] = 10.0,
    poll_seconds: Annotated[float, typer.Option(help="How often the ledger is read.")] = 1.0,
) -> None:
    """Mirrors a search while it runs, and ends with it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver
    os.nice(5)  # the trials come first
    gone = watch_parent(parent_pid, give_up_seconds + 60) if parent_pid else lambda: not is_live(folder)
    ledger, uri = _open(folder, tracking_uri)
    mirror = Mirror(uri)

    def send_once() -> None:
        mirror.send(_read_ledger(ledger, folder, gone=gone(), settled=mirror.settled))
        _register_winner(mirror, ledger, folder)

    follower = Follower(send_once, is_over=lambda: gone() or bool(ledger.header.get("ended")))
    with _only_mirror(folder, wait_seconds=60):  # the mirror of a driver that was killed just now may still be at its end
        if follower.run(give_up_seconds, poll_seconds):
            print(f"MLflow holds the whole search; sent: {_summary(mirror)}", flush=True)
            return
        shortfall = _shortfall(mirror, _read_ledger(ledger, folder, gone=gone()), ledger.header)
        print(f"{shortfall}; send the rest: {sync_command(folder)}", flush=True)
    raise typer.Exit(1)


@app.command()
def sync(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the search.")],
    tracking_uri: Annotated[str | None, typer.Option(help="Where MLflow is, if not where the search says.")] = None,
) -> None:
    """Sends what MLflow lacks of a search, once, and says what it was."""
    ledger, uri = _open(folder, tracking_uri)
    with _only_mirror(folder, wait_seconds=1):
        mirror = Mirror(uri)
        _send_all(mirror, ledger, folder)
        try:
            _register_winner(mirror, ledger, folder)
        except Exception as error:
            raise _failure(
                f"{_not_registered(mirror, ledger.header)}: {first_line(error)}; sent: {_summary(mirror)}", 1
            ) from None
    typer.echo(visible_lines(f"sent to {uri}: {_summary(mirror)}"))


def register_export(folder: Path, export: Path, name: str) -> str:
    """Registers an export of a search as a person asks for it: it becomes the champion, whatever was that before.

    Waits for an MLflow that does not answer as long as for any other request: ten seconds.

    Args:
        folder: of the search; nobody may hold it.
        export: folder of the model.
        name: in the registry.

    Returns:
        What came of it, in a line.

    Raises:
        ConfigError: what lies in `export` cannot be registered.
        Exit: MLflow failed, which was told; code 1.
    """
    ledger, uri = _open(folder, None)
    winner = winner_of(folder, ledger.header, export, name)
    with _only_mirror(folder, wait_seconds=60):
        mirror = Mirror(uri)
        _send_all(mirror, ledger, folder)
        try:
            return str(mirror.register(winner, crown=True))
        except Exception as error:
            raise _failure(f"{name}: not registered: {first_line(error)}", 1) from None


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder of searches, or of one of them.")] = RUNS,
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Port to listen on, on this machine alone.")] = DEFAULT_PORT,
) -> None:
    """Shows searches in the browser: MLflow on 127.0.0.1, which answers to its own address alone."""
    if has_study(folder):
        _, uri = _open(folder, None)
        folder = folder.resolve().parent
    else:
        uri = store_in(folder) or ""
    if uri.startswith("http"):
        raise _failure(f"{uri}: this search is shown by that server; open it in a browser", 2)
    if not uri or (uri.startswith(_SQLITE) and not _file_of(uri).is_file()):
        raise _failure(f"{folder}: no MLflow store stands here (there is no mlflow.db); a search makes it", 2)
    typer.echo(f"http://{HOST}:{port} shows {uri}; Ctrl-C ends it")
    sys.stdout.flush()
    become_server(uri, folder.resolve() / "mlartifacts", port)


def _read_ledger(ledger: Ledger, folder: Path, *, gone: bool, settled: Collection[int] = ()) -> dict[int | None, WantedRun]:
    """What MLflow must hold now.  `gone`: the driver that was followed is; another may be at work in its place."""
    header = ledger.header
    over = bool(header.get("ended")) or (gone and not is_live(folder))
    records = ledger.records(live=not over)
    if not over:
        return wanted_runs(header, records, folder, over=False, settled=settled)
    confirmed = confirmation_of(header, records)
    winner = _winner(folder, records, confirmed)
    claim = confirmed.claim if winner is None else confirmed.said_of(winner)
    return wanted_runs(header, records, folder, over=True, settled=settled, claim=claim, winner=winner)


def _winner(folder: Path, records: list[TrialRecord], confirmed: Confirmation) -> TrialRecord | None:
    """The trial whose model lies in `best/`; where none does, the one that would be exported first."""
    there = exported_trial(folder / BEST)
    exported = next((record for record in records if there == (record.number, record.score)), None)
    return exported or next(iter(in_order_of_choice(records, confirmed)), None)


def _send_all(mirror: Mirror, ledger: Ledger, folder: Path) -> None:
    """Sends what MLflow lacks; what fails is told, and ends the command."""
    try:
        wanted = _read_ledger(ledger, folder, gone=not is_live(folder))
    except LedgerError as error:
        raise _failure(str(error), 2) from None
    try:
        mirror.send(wanted)
    except Exception as error:
        raise _failure(f"{_shortfall(mirror, wanted, ledger.header)}: {first_line(error)}; sent: {_summary(mirror)}", 1) from None


def _register_winner(mirror: Mirror, ledger: Ledger, folder: Path) -> None:
    """Registers what lies in `best/` where the driver has written down that it is to be, and has ended."""
    header = ledger.header
    asked = header.get(REGISTRATION)
    if asked and header.get("ended"):
        mirror.register(winner_of(folder, header, folder / BEST, asked["name"], trial=asked["trial"]))


def _connect(uri: str) -> tuple[Any, str]:
    """A client and the id of the experiment; both are made where they are missing, by one process at a time."""
    _set_environment()
    from mlflow import MlflowClient

    with _only_maker(uri):
        client = MlflowClient(tracking_uri=uri)
        return client, _experiment_id(client, uri)


@contextlib.contextmanager
def _only_maker(uri: str) -> Iterator[None]:
    """Lets one search at a time make what is missing in a SQLite store."""
    if not uri.startswith(_SQLITE):
        yield
        return
    path = _file_of(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock", timeout=60):
        if not path.exists():
            _make_store(path)
        yield


def _make_store(path: Path) -> None:
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


def _file_of(sqlite_uri: str) -> Path:
    return Path(sqlalchemy.make_url(sqlite_uri).database or "")


def _set_environment() -> None:
    """Bounds MLflow's waiting and closes what is open by default, before it is imported; what the user set stands."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _experiment_id(client: Any, uri: str) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        folder = _file_of(uri).resolve().parent / "mlartifacts" if uri.startswith(_SQLITE) else None
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


def _read_back(client: Any, experiment_id: str, wanted: Mapping[int | None, WantedRun]) -> dict[int | None, HeldRun]:
    """The runs of a search that MLflow holds; histories are read only of those that are not whole."""
    held: dict[int | None, HeldRun] = {}
    for run in _search_runs(client, experiment_id, wanted[None].tags[SEARCH_TAG]):
        trial = int(run.data.tags[TRIAL_TAG]) if TRIAL_TAG in run.data.tags else None
        if trial in held:  # a server that made a run and did not say so was asked again
            client.delete_run(run.info.run_id)
            continue
        there = HeldRun(run.info.run_id, run.info.status, dict(run.data.tags), dict(run.data.params))
        if trial in wanted and not is_whole(wanted[trial], there):
            history = client.get_metric_history(there.run_id, PARENT_CURVE if trial is None else CHILD_CURVE)
            there.steps = {metric.step for metric in history}
        held[trial] = there
    return held


def _search_runs(client: Any, experiment_id: str, search_id: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], f"tags.`{SEARCH_TAG}` = '{search_id}'", order_by=["attributes.start_time ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _log_batch(client: Any, held: HeldRun, log: Log) -> None:
    from mlflow.entities import Metric, Param, RunTag

    metrics = [Metric(key, value, point.timestamp_ms, point.step) for point in log.points for key, value in point.metrics.items()]
    params = [Param(key, value) for key, value in log.params.items()]
    tags = [RunTag(key, value) for key, value in log.tags.items()]
    client.log_batch(held.run_id, metrics, params, tags, synchronous=True)
    held.params |= log.params
    held.tags |= log.tags
    held.steps |= {point.step for point in log.points}


def _set_status(client: Any, held: HeldRun, change: SetStatus) -> None:
    if change.status == "RUNNING":
        client.update_run(held.run_id, status=change.status)
    else:
        client.set_terminated(held.run_id, change.status, change.end_ms or None)
    held.status = change.status


def _upload(client: Any, run_id: str, artifact: Artifact) -> None:
    if artifact.path is None:
        client.log_text(run_id, artifact.text, artifact.name)
    else:
        client.log_artifact(run_id, str(artifact.path), artifact.name.rpartition("/")[0] or None)


def _open(folder: Path, tracking_uri: str | None) -> tuple[Ledger, str]:
    try:
        ledger = Ledger.read(folder)
        check_links(folder)
        uri = tracking_uri or (ledger.header.get("settings") or {}).get("tracking_uri")
        return ledger, parse_tracking_uri(uri) if uri else default_tracking_uri(folder)
    except (LedgerError, ConfigError) as error:
        raise _failure(str(error), 2) from None


@contextlib.contextmanager
def _only_mirror(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Keeps a second mirror out: two at once would send everything twice."""
    lock = filelock.FileLock(folder / _LOCK_FILE, timeout=wait_seconds)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise _failure(f"{folder}: another mirror is at work on this search; it sends what is missing", 1) from None
    try:
        yield
    finally:
        lock.release()


def _shortfall(mirror: Mirror, wanted: Mapping[int | None, WantedRun], header: Mapping[str, Any]) -> str:
    num_trials, num_reports = mirror.count_missing(wanted)
    missing = [f"{num_trials} trials, {num_reports} reports are missing", _not_registered(mirror, header)]
    return f"the MLflow mirror is not complete: {', '.join(filter(None, missing))}"


def _not_registered(mirror: Mirror, header: Mapping[str, Any]) -> str:
    asked = header.get(REGISTRATION)
    return f"trial {asked['trial']} is not registered as {asked['name']}" if asked and mirror.registered is None else ""


def _summary(mirror: Mirror) -> str:
    sent = ", ".join(f"{mirror.sent[kind]} {kind}" for kind in ("runs", "reports", "files")) if mirror.sent else ""
    return "; ".join(filter(None, [sent or "nothing was missing", str(mirror.registered or "")]))


def _failure(message: str, code: int) -> typer.Exit:
    typer.echo(visible_lines(f"error: {message}"), err=True)
    return typer.Exit(code)


if __name__ == "__main__":
    keep_files_private()
    app()
