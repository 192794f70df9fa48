"""`python -m tuner.doctor DIR`: looks a search's folder over and says what to do, a line each.  It changes nothing.

Exit codes: 0 nothing to do; 1 something to do; 2 no search stands there.
"""

import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from trainables.checkpoints import checkpoints, verify
from trainables.parts import ConfigError
from tuner.ledger import Ledger, LedgerError, problem_to_mend
from tuner.mirror_process import LOG_FILE, sync_command
from tuner.repair_plan import plan_repair
from tuner.search_folder import BEST, TRIALS, check_links, is_live, trial_folder
from tuner.store_check import BACKUP_FILE, problems_of_store
from tuner.stores import LEDGER_FILE, READY, has_study

EXIT_HEALTHY, EXIT_TO_DO, EXIT_MISTAKE = 0, 1, 2
_LEFTOVERS = (".aside-", ".replaced-", ".record.json.", ".study.", ".settings.yaml.")
_NEEDED_CHECKPOINTS = 3
"""Of each trial at once: two are kept, and one is written."""
_MAX_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, and what is to be done about it; empty: nothing."""

    seen: str
    to_do: str = ""


def examine(folder: Path) -> list[Finding]:
    """All that can be said of the search in `folder`, whether or not a driver is at work on it.

    Raises:
        LedgerError: no search stands there.
    """
    if not has_study(folder) and not (folder / BACKUP_FILE).exists():
        raise LedgerError(f"{folder}: no search stands here (there is no {LEDGER_FILE})")
    try:
        check_links(folder)
    except ConfigError as error:
        return [Finding(problem, "nothing else was looked at") for problem in error.problems]
    checks: list[Callable[[Path], Iterator[Finding]]] = [_ledger, _weights, _orphans, _leftovers, _mirror, _disk, _permissions]
    return [finding for check in checks for finding in check(folder)]


def _ledger(folder: Path) -> Iterator[Finding]:
    ledger, backup, again = folder / LEDGER_FILE, folder / BACKUP_FILE, _resume(folder)
    if (is_file := ledger.exists() or backup.exists()) and (problems := problems_of_store(ledger)):
        yield from (Finding(problem, f"the backup is taken up by: {again}") for problem in problems)
        return
    if problem := problem_to_mend(folder):
        yield Finding(problem, f"what it lost is looked for by: {again}")
        return
    try:
        records = Ledger.read(folder).records(live=is_live(folder))
    except LedgerError as error:
        yield Finding(str(error), "start the database, or see ledger.json for where it is")
        return
    counts = Counter(record.state for record in records)
    yield Finding(
        f"ledger: {len(records)} trials ({', '.join(f'{n} {state}' for state, n in sorted(counts.items())) or 'none yet'})"
    )
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
        yield Finding(problem, f"it is made again by: {_resume(folder)}")


def _weights(folder: Path) -> Iterator[Finding]:
    """Manifests of checkpoints, newest last, and of kept models."""
    trials = sorted(path for path in (folder / TRIALS).glob("*") if path.is_dir())
    num_good = 0
    for trial in trials:
        for kept in [*checkpoints(trial / "checkpoints"), *([trial / BEST] if (trial / BEST).is_dir() else [])]:
            problems = verify(kept)
            if not kept.is_dir():  # swept meanwhile
                continue
            num_good += not problems
            if problems:
                others = "the one before is used" if kept.name != BEST else "another trial can be exported (--trial N)"
                yield Finding(problems[0], f"nothing, {others}; rm -r {quote(str(kept))} frees the room")
    yield Finding(f"checkpoints and kept models: {num_good} good")


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
    for path in sorted(
        path for path in folder.rglob(".*") if path.name.startswith(_LEFTOVERS) and not path.name.startswith(READY)
    ):
        yield Finding(f"{path}: left by a process that was killed", f"rm -r {quote(str(path))}")
    for path in sorted(folder.glob("*.damaged-*")):
        yield Finding(f"{path}: a damaged ledger, put aside", f"once nothing is missed: rm {quote(str(path))}")


def _mirror(folder: Path) -> Iterator[Finding]:
    if is_live(folder):
        yield Finding("MLflow mirror: a driver is at work")
        return
    log = folder / LOG_FILE
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    last = next((line for line in reversed(lines) if line.strip()), "it never ran")
    if last.startswith("MLflow holds the whole search"):
        yield Finding("MLflow mirror: complete")
    else:
        yield Finding(f"MLflow mirror: {last[:200]}", sync_command(folder))


def _disk(folder: Path) -> Iterator[Finding]:
    sizes = {path: path.stat().st_size for path in _files(folder)}
    used, free = sum(sizes.values()), shutil.disk_usage(folder).free
    one = max((sum(sizes.get(file, 0) for file in _files(kept)) for kept in folder.glob(f"{TRIALS}/*/checkpoints/*")), default=0)
    seen = f"disk: {_mib(used)} used, {_mib(free)} free"
    if one and free < _NEEDED_CHECKPOINTS * one:
        need = f"a trial needs {_mib(_NEEDED_CHECKPOINTS * one)} ({_NEEDED_CHECKPOINTS} checkpoints)"
        yield Finding(f"{seen}; {need}", "make room, or move the folder, before the search goes on")
    else:
        yield Finding(seen)


def _permissions(folder: Path) -> Iterator[Finding]:
    """Files are their owner's alone (0600), folders too (0700)."""
    open_ones = [path for path in [folder, *sorted(folder.rglob("*"))] if _is_open(path)]
    if open_ones:
        named = ", ".join(str(path) for path in open_ones[:_MAX_NAMED]) + (", ..." if len(open_ones) > _MAX_NAMED else "")
        yield Finding(
            f"{len(open_ones)} files and folders can be read by others: {named}", f"chmod -R go-rwx {quote(str(folder))}"
        )
    else:
        yield Finding("permissions: for the owner alone")


def _is_open(path: Path) -> bool:
    try:
        return not path.is_symlink() and bool(stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO))
    except FileNotFoundError:  # swept meanwhile
        return False


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _resume(folder: Path) -> str:
    return f"python -m tuner.search --resume {quote(str(folder))}"


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help="Check a search's folder, and say what to do.  Changes nothing.")
def main(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the search.")]) -> None:
    """Prints a line for each finding."""
    try:
        findings = examine(folder)
    except LedgerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_MISTAKE) from None
    for finding in findings:
        typer.echo(f"to do: {finding.seen}: {finding.to_do}" if finding.to_do else f"well:  {finding.seen}")
    raise typer.Exit(EXIT_TO_DO if any(finding.to_do for finding in findings) else EXIT_HEALTHY)


if __name__ == "__main__":
    app()
