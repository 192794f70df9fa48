"""`python -m tuner.doctor DIR`: looks a search's folder over and says what to do, a line each.  It changes nothing.

Exit codes: 0 nothing to do; 1 something to do; 2 no search stands there.
"""

import contextlib
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from trainables.parts import ConfigError
from trainables.storage import StorageError, shown
from tuner.console import visible
from tuner.inspection import Finding, walk
from tuner.kept_files import GOES_ON, changed_exports, damaged, missing
from tuner.ledger import Ledger, problem_to_mend
from tuner.ledger_places import BACKUP_FILE, LEDGER_FILE, READY, LedgerError, has_study
from tuner.mirror_process import INCOMPLETE, LOG_FILE, SEND_THE_REST, last_line, sync_command
from tuner.repair_plan import plan_repair
from tuner.search_folder import TRIALS, is_live, resume_command, trial_folder
from tuner.settings import SearchSettings
from tuner.store_check import problems_of_store
from tuner.stored_trials import problem_of_claim, search_place, stored_trial

EXIT_HEALTHY, EXIT_TO_DO, EXIT_MISTAKE = 0, 1, 2
_LEFTOVERS = (".aside-", ".replaced-", ".attempt.", ".record.json.", ".study.", ".settings.yaml.")
_NEEDED_CHECKPOINTS = 3
"""Of each trial at once: two are kept, and one is written."""
_MAX_NAMED = 5


def examine(folder: Path) -> list[Finding]:
    """All that can be said of the search in `folder`, whether or not a driver is at work on it.

    Raises:
        LedgerError: no search stands there.
    """
    if not has_study(folder) and not (folder / BACKUP_FILE).exists():
        raise LedgerError(_no_search(folder))
    if strange := list(_strange(folder)):
        return strange
    checks: list[Callable[[Path], Iterator[Finding]]] = [
        _ledger,
        damaged,
        changed_exports,
        _missing,
        _stored,
        _orphans,
        _leftovers,
        _mirror,
        _disk,
        _permissions,
    ]
    return [finding for check in checks for finding in check(folder)]


def _no_search(folder: Path) -> str:
    trials = folder / TRIALS
    if not trials.is_dir():
        return f"{folder}: no search stands here (there is no {LEDGER_FILE})"
    hint = f"put a copy of either there, then: {resume_command(folder)}; {trials}/*/record.json hold what has come since"
    return f"{folder}: neither {LEDGER_FILE} nor {BACKUP_FILE} stands here; {hint}"


def _strange(folder: Path) -> Iterator[Finding]:
    """What is neither a file nor a folder: a link leads elsewhere, and who reads a pipe waits; nothing else is looked at then."""
    for path in walk(folder):
        mode = _mode_of(path)
        if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
            yield Finding(
                f"{path}: {what}; a search's folder holds its own files alone", f"look at it, then: rm {quote(str(path))}"
            )


def _ledger(folder: Path) -> Iterator[Finding]:
    ledger, backup, again = folder / LEDGER_FILE, folder / BACKUP_FILE, resume_command(folder)
    if (is_file := ledger.exists() or backup.exists()) and (problems := problems_of_store(ledger)):
        yield from (Finding(problem, f"the backup is taken up by: {again}") for problem in problems)
        return
    if problem := problem_to_mend(folder):
        yield Finding(problem, f"what it lost is looked for by: {again}")
        return
    try:
        records = Ledger.read(folder).records(live=is_live(folder))
    except LedgerError as error:
        from_file = f"what can be read of it is put together again by: {again}"
        yield Finding(str(error), from_file if is_file else "start the database, or see ledger.json for where it is")
        return
    counts = Counter(record.state for record in records)
    to_go_on = f"; to go on: {again}" if any(record.state == "interrupted" for record in records) else ""
    states = ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "none yet"
    yield Finding(f"ledger: {len(records)} trials ({states}){to_go_on}")
    if is_file and not is_live(folder):
        repair = plan_repair(folder, ledger)
        yield from (Finding(f"trial {n}: the ledger lacks what {why} holds", again) for n, (_, why) in repair.trials.items())
        yield from (Finding(f"trial {n}: nothing but its folder is left", again) for n in repair.lost)
        yield from (Finding(f"trial {n}: none of this number was asked", again) for n in repair.strays)
        yield from (Finding(note, again) for note in repair.notes)
    if is_file:
        yield from _backup(folder)


def _backup(folder: Path) -> Iterator[Finding]:
    backup = folder / BACKUP_FILE
    for problem in problems_of_store(backup):
        yield Finding(problem, f"it is made again by: {resume_command(folder)}")


def _missing(folder: Path) -> Iterator[Finding]:
    try:
        ledger = Ledger.read(folder)
        settings = SearchSettings.parse(ledger.header["settings"])
        if settings.storage is None:  # else they lie there
            yield from missing(folder, lambda: ledger.records(live=is_live(folder)), settings.keep_models)
    except (LedgerError, ConfigError):
        return  # told already


def _stored(folder: Path) -> Iterator[Finding]:
    """What is stored away from the folder: whether it is there, with the sizes that it should have."""
    try:
        ledger = Ledger.read(folder)
        header, records = ledger.header, ledger.records(live=is_live(folder))
    except LedgerError:
        return  # told already
    uri = search_place(header, header.get("settings", {}).get("storage"))
    if uri is None:
        return
    try:
        problem = problem_of_claim(header, uri)
        looks = {record.number: stored_trial(uri, record.number).look_over() for record in records}
    except StorageError as error:
        yield Finding(str(error), "see that it can be reached and written to; until then the search cannot go on")
        return
    if problem:
        yield Finding(problem, "see the table of docs/operations.md on storages; as it is the search cannot go on")
    to_do = "it is passed over: the one before is used, or another trial exported (--trial N)"
    yield from (Finding(wrong, to_do) for _, problems in looks.values() for wrong in problems)
    for record in records:
        if record.state in GOES_ON and record.reports and not looks[record.number][0]:
            seen = f"trial {record.number}: {len(record.reports)} reports, but no good checkpoint is stored"
            yield Finding(seen, "copy it there, if there is one; else the trial is trained again from its start")
    yield Finding(f"{shown(uri)}: {sum(good for good, _ in looks.values())} checkpoints and kept models, each with its files")


def _orphans(folder: Path) -> Iterator[Finding]:
    """Folders of trials that the ledger does not know."""
    try:
        known = {trial_folder(folder, record.number) for record in Ledger.read(folder).records()}
    except LedgerError:
        return  # told already
    for path in sorted((folder / TRIALS).glob("*")):
        if path not in known:
            yield Finding(f"{path}: no trial of the ledger", f"look at it, then: rm -r {quote(str(path))}")


def _leftovers(folder: Path) -> Iterator[Finding]:
    """What a killed writer has left; while a driver is at work they may be its own."""
    if is_live(folder):
        return
    for path in (path for path in walk(folder) if path.name.startswith(_LEFTOVERS) and not path.name.startswith(READY)):
        yield Finding(f"{path}: left by a process that was killed", f"rm -r {quote(str(path))}")
    for path in sorted(folder.glob("*.damaged-*")):
        yield Finding(f"{path}: a damaged ledger, put aside", f"once nothing is missed: rm {quote(str(path))}")


def _mirror(folder: Path) -> Iterator[Finding]:
    if is_live(folder):
        yield Finding("MLflow mirror: a driver is at work")
        return
    last = last_line(folder / LOG_FILE) or "it never ran"
    if last.startswith("MLflow holds the whole search"):
        yield Finding("MLflow mirror: complete")
    else:
        why = last.removeprefix(INCOMPLETE).partition(SEND_THE_REST)[0]
        yield Finding(f"MLflow mirror: {why[:200]}", sync_command(folder))


def _disk(folder: Path) -> Iterator[Finding]:
    used, free = _size_of(folder), shutil.disk_usage(folder).free
    one = max((_size_of(kept) for kept in folder.glob(f"{TRIALS}/*/checkpoints/*")), default=0)
    seen = f"disk: {_mib(used)} used, {_mib(free)} free"
    if one and free < _NEEDED_CHECKPOINTS * one:
        need = f"a trial needs {_mib(_NEEDED_CHECKPOINTS * one)} ({_NEEDED_CHECKPOINTS} checkpoints)"
        yield Finding(f"{seen}; {need}", "make room, or move the folder, before the search goes on")
    else:
        yield Finding(seen)


def _permissions(folder: Path) -> Iterator[Finding]:
    """Files are their owner's alone (0600), folders too (0700)."""
    open_ones = [path for path in [folder, *walk(folder)] if _is_open(path)]
    if open_ones:
        named = ", ".join(str(path) for path in open_ones[:_MAX_NAMED]) + (", ..." if len(open_ones) > _MAX_NAMED else "")
        yield Finding(
            f"{len(open_ones)} files and folders can be read by others: {named}", f"chmod -R go-rwx {quote(str(folder))}"
        )
    else:
        yield Finding("permissions: for the owner alone")


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(_mode_of(path)) & (stat.S_IRWXG | stat.S_IRWXO))


def _mode_of(path: Path) -> int:
    """Kind and permissions; 0 where it has vanished meanwhile."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _size_of(folder: Path) -> int:
    """Bytes of all files in a folder, as far as they are still there."""
    sizes = 0
    for path in walk(folder):
        with contextlib.suppress(OSError):
            sizes += path.lstat().st_size if path.is_file() else 0
    return sizes


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help="Check a search's folder, and say what to do.  Changes nothing.")
def main(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the search.")]) -> None:
    """Prints a line for each finding."""
    try:
        findings = examine(folder)
    except LedgerError as error:
        typer.echo(visible(str(error)), err=True)
        raise typer.Exit(EXIT_MISTAKE) from None
    for finding in findings:
        line = f"to do: {finding.seen}: {finding.to_do}" if finding.to_do else f"well:  {finding.seen}"
        typer.echo(visible(line))
    raise typer.Exit(EXIT_TO_DO if any(finding.to_do for finding in findings) else EXIT_HEALTHY)


if __name__ == "__main__":
    app()
