"""One driver at work on one search: from the locked folder to the leaderboard."""

import contextlib
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console

from reports.leaderboard import print_leaderboard
from search_spaces.study import StudySpace
from trainables.disk import is_disk_full
from trainables.paths import write_yaml
from trainables.storage import is_storage_gone, shown
from trainables.tasks import Task
from tuner import search_folder
from tuner.backup import Keeper
from tuner.cluster import CLEANUP_SECONDS, STORING_SECONDS, count_gpus, local_ray, ray_addresses, scratch_parent
from tuner.cluster_join import Cluster, describe_trial, joined_ray, slots_of
from tuner.confirm import is_confirmed, num_to_come, num_trainings
from tuner.console import SteadyConsole, errors_console
from tuner.export import export_best, import_libraries
from tuner.housekeeping import PeakDisk, Sweeper
from tuner.interrupts import EXIT_INTERRUPTED, Interrupts
from tuner.ledger import Ledger
from tuner.lineage import describe_code_and_machine
from tuner.mirror_process import MirrorProcess, MirrorResult, sync_command
from tuner.mlflow_store import default_tracking_uri
from tuner.plan import DISK, PLAN
from tuner.processes import count_cpus
from tuner.progress import Progress, Tally
from tuner.ray_watch import watched_ray
from tuner.records import TrialRecord, rank, searched, searched_rows
from tuner.referee import Referee
from tuner.registry import REGISTRATION
from tuner.room import Room, check_room, describe_need, in_words
from tuner.samplers import grid_points
from tuner.seals import SEALS, seals
from tuner.search_plan import SearchPlan
from tuner.stored_trials import PLACE, StoredTrials, claim, new_place, search_place
from tuner.stretches import noted

_MIRROR_SECONDS = 20.0
_UPLOAD_SECONDS = 40.0
"""More, at most, where the mirror uploads weights, too."""
_IMPATIENT_SECONDS = 6.0
_HURRIED_SECONDS = 2.0
_TOP = 30
"""Trials that are shown at the end; how many are not, and the command that shows them all, stands below."""
STOPPING = "stopping; what was reported is stored, another Ctrl-C ends it at once"
ERROR_FILE = "error.log"
EXIT_DONE, EXIT_FAILED, EXIT_DISK_FULL = 0, 1, 4


def drive(
    folder: Path,
    plan: SearchPlan,
    cluster: Cluster | None = None,
    *,
    is_new: bool,
    quiet: bool,
    expected: Mapping[str, Any] | None = None,
) -> int:
    """Runs a search until it is done, its time is up or somebody interrupts it; prints what came of it.

    Args:
        folder: of the search; made if `is_new`.
        plan: checked.
        cluster: to be joined, looked at; None: Ray is started on this machine.
        is_new: begin, or go on.
        quiet: print the result alone.
        expected: what the search was planned to take (`tuner.plan`), to stand in the ledger.

    Returns:
        Exit code: 0 done; 1 nothing to export, or it cannot go on; 4 disk full or storage gone; 130 interrupted.  Where
        Ray is gone the process ends with 1 on the spot.

    Raises:
        ConfigError: the machine is too small for one trial, or another driver is at work here.
    """
    console = SteadyConsole(highlight=False)
    slots = slots_of(plan.settings, cluster)
    way_on = search_folder.resume_command(folder, joins=cluster is not None)
    interrupts = Interrupts(f"stopped at once; go on with: {way_on}", STOPPING)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with search_folder.locked(folder), interrupts.heard(), contextlib.ExitStack() as writing:
        ledger = _begin(folder, plan) if is_new else Ledger.open(folder)
        writing.enter_context(ledger.held(folder_is_ours=True))
        note_at_work = writing.enter_context(noted(ledger))
        storage = search_place(ledger.header, plan.settings.storage)
        if storage is not None:  # who is refused has changed nothing
            claim(ledger, storage)
        _set_up(ledger, folder, plan)
        if expected is not None:
            ledger.set_header(PLAN, dict(expected))
        stored = None if storage is None else StoredTrials(storage, folder)
        if not quiet:
            _announce(console, folder, plan, slots, cluster=cluster, records=ledger.records())
            if stored is not None:
                console.print(f"checkpoints and models are stored in {shown(stored.uri)}", markup=False, soft_wrap=True)
        keeper = Keeper(folder)
        with MirrorProcess(folder) as mirror:
            try:
                interrupted = _search(
                    ledger,
                    folder,
                    plan,
                    slots,
                    console,
                    cluster=cluster,
                    interrupts=interrupts,
                    keeper=keeper,
                    stored=stored,
                    quiet=quiet,
                    way_on=way_on,
                )
                records = ledger.records()
                num_left, has_score = _num_unfinished(records, plan), bool(rank(records))
                if not interrupted:
                    if not quiet:
                        _announce_export(console, num_left)
                    with interrupts.noted():
                        import_libraries()
                    interrupts.check()
                code, exported = (EXIT_INTERRUPTED, []) if interrupted else _export(ledger, folder, has_score=has_score)
                ledger.set_header("ended", "stopped" if num_left else "complete")
                note_at_work()  # the report counts the export
                exported += [] if interrupted else _report(folder)
                keeper.close()
            except BaseException as error:
                return _end_badly(ledger, folder, mirror, error, way_on)
            to_register = ledger.header.get(REGISTRATION)
            patience = _IMPATIENT_SECONDS if interrupts.requested else _MIRROR_SECONDS
            mirrored = mirror.close(patience + (_UPLOAD_SECONDS if to_register and not interrupts.requested else 0.0))
            untidy = stored.close(patience) if stored is not None else ""
        print_leaderboard(folder, console, _TOP, live=False)
        has_best = interrupted and has_score
        things = _where_things_are(folder, plan, num_left, way_on, interrupted=interrupted, has_best=has_best)
        warnings = [*([] if mirrored.complete else [mirrored.message]), *filter(None, [keeper.problem, untidy])]
        for line in [*exported, *_registration(to_register, mirrored, folder), *warnings, *things]:
            console.print(line, markup=False, soft_wrap=True)
        too_early = num_left > 0 and not has_score  # the time was up before the first report: no failure
        return EXIT_DONE if too_early and code == EXIT_FAILED else code


def _end_badly(ledger: Ledger, folder: Path, mirror: MirrorProcess, error: BaseException, way_on: str) -> int:
    """Ends a driver that cannot go on: a full disk, a broken store, a second Ctrl-C.  What stands in the ledger stands."""
    with contextlib.suppress(Exception):
        ledger.set_header("ended", "stopped")
    mirror.close(_HURRIED_SECONDS)
    if isinstance(error, KeyboardInterrupt):
        raise error
    errors = errors_console()
    if is_disk_full(error):
        errors.print(f"the disk is full: {_told_by(error, is_disk_full)}")
        errors.print(f"nothing is lost; make room, then go on with: {way_on}")
        return EXIT_DISK_FULL
    if is_storage_gone(error):
        errors.print(f"the storage cannot be used: {_told_by(error, is_storage_gone)}")
        errors.print(f"nothing is lost; once it can, go on with: {way_on}")
        return EXIT_DISK_FULL
    with contextlib.suppress(OSError):
        (folder / ERROR_FILE).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    errors.print(f"the search cannot go on: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    errors.print(f"all of it: {folder / ERROR_FILE}; nothing is lost: {way_on}")
    return EXIT_FAILED


def _told_by(error: BaseException, is_of_it: Callable[[BaseException], bool]) -> str:
    """The line of an error that says which disk or storage: Tune quotes the whole traceback of what it came of."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if is_of_it(Exception(line))), " ".join(lines))[:300]


def _begin(folder: Path, plan: SearchPlan) -> Ledger:
    id_, name = uuid.uuid4().hex, folder.resolve().name
    own = {"id": id_, "name": name, PLACE: new_place(name, id_)}
    header = {**own, **plan.header(), "lineage": describe_code_and_machine()}
    return Ledger.create(folder, {SEALS: seals({}, header), **header, "ended": None}, plan.settings.ledger)


def _set_up(ledger: Ledger, folder: Path, plan: SearchPlan) -> None:
    """Queues what comes first (what was tried before is skipped), and writes the settings for people; the ledger is what counts.

    First come a grid's points, or those that the space starts with.
    """
    before = ledger.header
    kept: dict[str, Any] = {key: before[key] for key in ("id", "name", PLACE, "lineage") if key in before}
    sealed = {**kept, **plan.header()}
    for key, value in {SEALS: seals(before, sealed), **plan.header(), REGISTRATION: None, "ended": None}.items():
        ledger.set_header(key, value)
    ledger.set_header(SEALS, seals(sealed, sealed))
    if plan.settings.searcher == "grid":
        ledger.enqueue(grid_points(plan.space, plan.base, plan.settings.trials, plan.settings.seed))
    else:
        ledger.enqueue(plan.space.first_points(plan.base))
    write_yaml(plan.for_people(), folder / search_folder.SETTINGS_FILE)


def _search(
    ledger: Ledger,
    folder: Path,
    plan: SearchPlan,
    slots: int,
    console: Console,
    *,
    cluster: Cluster | None,
    interrupts: Interrupts,
    keeper: Keeper,
    stored: StoredTrials | None,
    quiet: bool,
    way_on: str,
) -> bool:
    """Runs the trials; True where somebody interrupted."""
    listeners: list[Callable[[str, TrialRecord], None]] = []

    def tell_all(event: str, record: TrialRecord) -> None:
        for listener in list(listeners):
            try:
                listener(event, record)
            except Exception:  # nobody who listens may disturb the search
                listeners.remove(listener)

    attributes = {**describe_code_and_machine(), "data_hashes": plan.data_hashes, "encoder_sha256": plan.encoder_sha256}
    referee = Referee(
        ledger,
        plan.settings,
        plan.space,
        plan.base,
        folder.resolve(),
        attributes=attributes,
        slots=slots,
        storage=None if stored is None else stored.uri,
        listener=tell_all,
    )
    ledger.set_header("rungs", list(referee.rung_reports))
    ledger.set_header("slots", slots)
    records = ledger.records()
    progress = Progress(
        folder.name,
        _tally(records, plan, referee),
        referee.rungs.table,
        console,
        quiet=quiet,
        notice=lambda: STOPPING if interrupts.requested else "",
    )

    # What the referee has ended by now, too: an earlier driver may have left it.
    keeper.catch_up()
    keeper.begin()
    disk = PeakDisk(folder, ledger.header.get(DISK) or 0)
    listeners += [progress, keeper, disk, Sweeper(folder, records, plan.settings.keep_models, stored)]
    if referee.num_to_start == 0:
        if not quiet:
            console.print("nothing is left to train", markup=False)
        return False
    ending = CLEANUP_SECONDS if stored is None else STORING_SECONDS
    started = joined_ray(cluster, ending) if cluster else local_ray(count_cpus(), count_gpus(), cleanup_seconds=ending)
    lost = f"nothing is lost; {'once a cluster runs, ' if cluster else ''}go on with: {way_on}"
    try:
        check_room("the search's folder", folder)
        check_room("Ray's temporary folder", scratch_parent())
        with progress, interrupts.noted(), started as scratch, watched_ray(ray_addresses(), lost):
            interrupts.listen()
            interrupts.check()
            from tuner.runner import run_trials  # imports Ray, which reads how it is guarded when it is imported

            room = Room({"the search's folder": folder, "Ray's temporary folder": scratch})
            run_trials(referee, plan.settings, num_slots=slots, scratch=scratch, interrupts=interrupts, room=room)
    except (KeyboardInterrupt, SystemExit):  # the latter is Ray's answer to a SIGTERM while it starts
        return True
    finally:
        interrupts.listen()
        with contextlib.suppress(Exception):  # what ended the search is told elsewhere
            ledger.set_header(DISK, disk.num_bytes)
    return interrupts.requested


def _tally(records: Sequence[TrialRecord], plan: SearchPlan, referee: Referee) -> Tally:
    to_confirm = num_trainings(plan.settings, plan.base)
    tally = Tally(
        num_trials=plan.settings.trials + to_confirm,
        num_to_confirm=to_confirm,
        num_reports=plan.base.num_reports,
        full_budget=plan.base.budget_examples or 0,
        reduction_factor=plan.settings.reduction_factor,
        rung_reports=referee.rung_reports,
    )
    for record in records:
        tally.take_in(record)
    return tally


def _describe_confirmation(plan: SearchPlan, records: Sequence[TrialRecord]) -> list[str]:
    settings, base = plan.settings, plan.base
    if not (trainings := num_trainings(settings, base)):
        return []
    what = (
        f"then the best {settings.confirm} and the config that all start from are trained again, {settings.confirm_seeds} seeds"
    )
    judged = f"and judged on {base.data.confirm_share:.0%} of dev that no trial before sees"
    begun = any(record.confirms is not None for record in records)
    left = f", at most {num_to_come(records, settings, base)} of them still to begin" if begun else ""
    return [f"{what} each ({trainings} full trainings{left}), {judged}"]


def _num_unfinished(records: Sequence[TrialRecord], plan: SearchPlan) -> int:
    """Trials of the search, and trainings that confirm, that have not ended."""
    to_come = max(0, plan.settings.trials - len(searched(records)))
    confirms = is_confirmed(plan.settings, plan.base)  # else trainings that were cut short are left as they are
    running = sum(record.state == "running" and (confirms or record.confirms is None) for record in records)
    return running + to_come + num_to_come(records, plan.settings, plan.base)


def _export(ledger: Ledger, folder: Path, *, has_score: bool) -> tuple[int, list[str]]:
    """Exports the best so far; exit code, and what to say of it."""
    lines: list[str] = []
    try:
        best, record = export_best(folder, ledger=ledger, say=lines.append)
    except (ValueError, OSError) as error:
        again = [f"try again     python -m tuner.export {quote(str(folder))}"] if has_score else []
        code = EXIT_DISK_FULL if is_disk_full(error) or is_storage_gone(error) else EXIT_FAILED
        return code, [*lines, f"nothing was exported: {error}", *again]
    so_far = "" if record.state == "complete" else " (the best so far, without its full budget)"
    lines.append(f"exported trial {record.number}{so_far} to {best}; loaded again, it scores the recorded {record.score:.4f}")
    if name := (ledger.header.get("settings") or {}).get("register_as"):
        ledger.set_header(REGISTRATION, {"name": name, "trial": record.number})  # the mirror does it
    return EXIT_DONE, lines


def _report(folder: Path) -> list[str]:
    """Writes the report; what there is to say where that fails, which is no failure of the search."""
    try:
        from reports.build import build_report  # the drawing library, which no search is to wait for

        build_report(folder, live=False)
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return [f"no report was written: {why}", f"try again     python -m reports.build {quote(str(folder))}"]
    return []


def _registration(asked: Mapping[str, Any] | None, mirrored: MirrorResult, folder: Path) -> list[str]:
    """What came of the winner's registration; the mirror registers last of all, so it is whole where that was done."""
    if not asked:
        return []
    if mirrored.complete:
        return [mirrored.message]
    return [f"trial {asked['trial']} is not registered as {asked['name']}; that is done later by: {sync_command(folder)}"]


def _announce_export(console: Console, num_left: int) -> None:
    """What comes next is silent, and takes minutes where dev and test are large."""
    if num_left:
        console.print(f"the time is up: {num_left} trials are not finished", markup=False)
    what = "its model is loaded again, scores dev and predicts dev and test ..."
    console.print(f"exporting the best trial: {what}", markup=False, soft_wrap=True)


def _rows(plan: SearchPlan) -> str:
    share = plan.base.data.confirm_share
    return searched_rows(share) + (f" ({1 - share:.0%} of it)" if share else "")


def _announce(
    console: Console, folder: Path, plan: SearchPlan, slots: int, *, cluster: Cluster | None, records: Sequence[TrialRecord]
) -> None:
    settings, base = plan.settings, plan.base
    rows = ", ".join(f"{task} {count}" for task, count in plan.num_rows.items())
    lines = [
        f"search {folder}: {settings.trials} trials of {_what_varies(plan)}, {slots} at once",
        f"{f'cluster {cluster.address}, {cluster}' if cluster else 'this machine alone'}; {describe_trial(settings)}",
        f"data {base.data.source}: training rows {rows}; a full trial sees {_budgets(plan)}; encoder {base.encoder.name}",
        *(
            [f"reports before a trial's last: {base.early_dev_share:.0%} of {_rows(plan)}, a fixed part; the last: all of it"]
            if base.early_dev_share < 1 and base.num_reports > 1
            else []
        ),
        *_describe_confirmation(plan, records),
        *_needs(folder, plan, slots),
        *(f"left out: {line}" for line in plan.left_out[:10]),
        *([f"left out: {len(plan.left_out) - 10} more rows"] if len(plan.left_out) > 10 else []),
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _needs(folder: Path, plan: SearchPlan, slots: int) -> list[str]:
    """What the search takes at most, wherever it writes."""
    most = plan.most_bytes(slots)
    if plan.settings.storage is None:
        return [describe_need(folder, most)]
    return [
        describe_need(folder, plan.bytes_in_folder(), "ledger, logs, a model to be exported"),
        f"in the storage at most {in_words(most)}; a trial takes {in_words(plan.running_bytes())} on the machine it works on",
    ]


def _what_varies(plan: SearchPlan) -> str:
    space, settings = plan.space, plan.settings
    if isinstance(space, StudySpace):
        seeds = "1 seed" if space.num_seeds == 1 else f"{space.num_seeds} seeds"
        brought = sorted({row.name for row in space.study.rows} - set(settings.rows)) if settings.rows else []
        with_teachers = f", with {', '.join(brought)}, which teach" if brought else ""
        return f"study {space.name} ({len(space.study.rows)} rows{with_teachers}; {seeds} each, every row in full)"
    return f"space {space.name} ({len(space.dimensions)} dimensions), {settings.searcher}, {settings.early_stopping}"


def _budgets(plan: SearchPlan) -> str:
    """Training examples of a full trial; of a study's, of the shortest row to the longest."""
    if not isinstance(plan.space, StudySpace):
        return f"{plan.base.budget_examples} examples, rounded up to whole steps"
    budgets = sorted({config.budget_examples or 0 for _, config in plan.space.configs(plan.base)})
    span = f"{budgets[0]}" if len(budgets) == 1 else f"{budgets[0]} to {budgets[-1]}"
    return f"{span} examples, rounded up to whole steps" + ("" if len(budgets) == 1 else ", by its row")


def _example(task: Task) -> str:
    """A task's name and a sentence for each of its columns, for a command line."""
    return " ".join([task.name, *map(quote, task.sentence_columns)])


def _where_things_are(
    folder: Path, plan: SearchPlan, num_left: int, way_on: str, *, interrupted: bool, has_best: bool
) -> list[str]:
    """What was written and what can be done next, each with its command."""
    uri = plan.settings.tracking_uri or default_tracking_uri(folder)
    compare = f"open {uri} in a browser" if uri.startswith("http") else f"python -m tuner.tracking serve {quote(str(folder))}"
    here, best = quote(str(folder)), folder / search_folder.BEST
    report = folder / search_folder.REPORT_FILE
    told = f"open {quote(str(report))} in a browser" if report.exists() and not interrupted else f"python -m reports.build {here}"
    lines = [f"leaderboard   python -m reports.leaderboard {here}", f"report        {told}", f"compare       {compare}"]
    if (best / "config.yaml").exists():
        lines += [
            f"best model    less {quote(str(best / 'README.md'))}",
            f"ask it        python -m trainables.predict {quote(str(best))} --task {_example(plan.base.tasks.tasks[-1])}",
            f"train again   python -m trainables.train --config {quote(str(best / 'config.yaml'))}",
            f"verify        python -m tuner.export {here} --verify   (trains it again and compares)",
        ]
    if isinstance(plan.space, StudySpace):
        lines.insert(1, f"the paper's   python -m reports.leaderboard {here} --beside-paper")
    if has_best:
        lines.append(f"best so far   python -m tuner.export {here}   (an interrupted search exports nothing)")
    if num_left:
        left = "1 trial is" if num_left == 1 else f"{num_left} trials are"
        return [*lines, f"go on         {way_on}   ({left} not finished or not begun)"]
    if interrupted:
        return [*lines, f"go on         {way_on}   (the best trial is not exported yet)"]
    more = f"--seeds {plan.space.num_seeds + 1}" if isinstance(plan.space, StudySpace) else "--trials +8"
    return [*lines, f"more trials   {way_on} {more}"]
