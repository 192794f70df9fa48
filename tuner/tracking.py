"""The MLflow mirror: fills MLflow from the ledger, in a process of its own, so that no MLflow can slow or stop a search.

`python -m tuner.tracking follow DIR` mirrors a search while it runs; the driver starts it through `MirrorProcess`, which imports
no MLflow.  `python -m tuner.tracking sync DIR` sends what is missing, once; `serve` shows all of it (`tuner/tracking_server.py`).
Neither of the first two trusts what it remembers: after a start, and after every error, they read back what MLflow holds (runs by
the tags `tritune.search` and `tritune.trial`, points by the history of one metric) and send the rest.  What MLflow must hold says
`tuner/mirror_runs.py`, what is missing `tuner/mirror_plan.py`, how a winner gets into the model registry `tuner/registry.py`;
`tuner/mirror.py` sends it, to a store that `tuner/mlflow_store.py` opens.
"""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import filelock
import typer

from trainables.parts import ConfigError
from trainables.secrecy import keep_files_private
from tuner.choosing import in_order_of_choice
from tuner.confirmation import Confirmation, confirmation_of
from tuner.console import visible_lines
from tuner.handover import exported_trial
from tuner.ledger import Ledger, first_line
from tuner.ledger_places import LedgerError, has_study
from tuner.mirror import Mirror
from tuner.mirror_loop import Follower, watch_parent
from tuner.mirror_process import INCOMPLETE, SEND_THE_REST, sync_command
from tuner.mirror_runs import WantedRun, wanted_runs
from tuner.mlflow_store import default_tracking_uri, file_of
from tuner.records import TrialRecord
from tuner.registry import REGISTRATION, winner_of
from tuner.search_folder import BEST, RUNS, check_links, is_live
from tuner.settings import SQLITE, parse_tracking_uri
from tuner.tracking_server import DEFAULT_PORT, HOST, become_server, store_in

_LOCK_FILE = ".mirror.lock"
app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help="Shows a search in MLflow, from its ledger."
)


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
        print(f"{shortfall}{SEND_THE_REST}{sync_command(folder)}", flush=True)
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
    if not uri or (uri.startswith(SQLITE) and not file_of(uri).is_file()):
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
        why = f"{_shortfall(mirror, wanted, ledger.header)}: {first_line(error)}"
        raise _failure(f"{why}; sent: {_summary(mirror, 'nothing')}", 1) from None


def _register_winner(mirror: Mirror, ledger: Ledger, folder: Path) -> None:
    """Registers what lies in `best/` where the driver has written down that it is to be, and has ended."""
    header = ledger.header
    asked = header.get(REGISTRATION)
    if asked and header.get("ended"):
        mirror.register(winner_of(folder, header, folder / BEST, asked["name"], trial=asked["trial"]))


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
    return f"{INCOMPLETE}{', '.join(filter(None, missing))}"


def _not_registered(mirror: Mirror, header: Mapping[str, Any]) -> str:
    asked = header.get(REGISTRATION)
    return f"trial {asked['trial']} is not registered as {asked['name']}" if asked and mirror.registered is None else ""


def _summary(mirror: Mirror, nothing: str = "nothing was missing") -> str:
    sent = ", ".join(f"{mirror.sent[kind]} {kind}" for kind in ("runs", "reports", "files")) if mirror.sent else ""
    return "; ".join(filter(None, [sent or nothing, str(mirror.registered or "")]))


def _failure(message: str, code: int) -> typer.Exit:
    typer.echo(visible_lines(f"error: {message}"), err=True)
    return typer.Exit(code)


if __name__ == "__main__":
    keep_files_private()
    app()
