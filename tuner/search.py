"""`python -m tuner.search`: searches, goes on with a search, or adds trials to one.

Exit codes: 0 done; 1 nothing to export, as every trial failed, or it cannot go on (its database is gone, another driver has taken
it over), to be resumed; 2 a mistake in what was asked for, nothing was started; 3 the data changed since the search began; 4 a
disk is full, to be resumed once there is room; 130 interrupted, to be resumed.
"""

from tuner.interrupts import EXIT_INTERRUPTED, leave_when_told

if __name__ == "__main__":  # what is imported below takes a second or more
    leave_when_told("stopped before anything was begun")

import contextlib
import datetime
import gc
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer import Option

from trainables.disk import is_disk_full
from trainables.inputs import DataChangedError
from trainables.parts import ConfigError, Problems, sentences_of
from trainables.plain_files import dump_yaml
from trainables.secrecy import keep_files_private
from tuner import search_folder
from tuner.cluster_join import Cluster, check_nodes, find_cluster
from tuner.console import errors_console, visible_lines
from tuner.ledger_places import BACKUP_FILE, LEDGER_FILE, LedgerError
from tuner.prepare import prepare, prepare_resume
from tuner.search_plan import SAMPLE_BUDGET, SearchPlan
from tuner.settings import WITHOUT_LOST, parse_duration, parse_num_trials

EXIT_MISTAKE, EXIT_DATA_CHANGED, EXIT_DISK_FULL = 2, 3, 4
_FIXED_ONCE_BEGUN = {
    "--tasks": "tasks",
    "--data": "data",
    "--config": "config",
    "--set": "set_",
    "--searcher": "searcher",
    "--budget": "budget",
    "--seed": "seed",
    "--cpus-per-trial": "cpus_per_trial",
    "--early-stopping": "early_stopping",
    "--reduction-factor": "reduction_factor",
    "--out": "out",
    "--ledger": "ledger",
    "--study": "study",
    "--rows": "rows",
}
_AS_THEY_ARE = (
    *("concurrency", "audit_share", "confirm", "confirm_seeds", "gpus_per_trial", "keep_models"),
    *("ledger", "register_as", "storage", "tracking_uri"),
)
_OF_A_SPACE = {
    "--space": "space",
    "--searcher": "searcher",
    "--trials": "trials",
    "--early-stopping": "early_stopping",
    "--reduction-factor": "reduction_factor",
    "--audit-share": "audit_share",
    "--confirm": "confirm",
    "--confirm-seeds": "confirm_seeds",
    "--tasks": "tasks",
}
"""What a study decides by itself."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help="Search the hyperparameters of a multitask BERT.  Without options: the sample corpus, 12 trials, this machine.")
def main(  # noqa: PLR0917 - a command line
    tasks: Annotated[Path | None, Option(help="YAML file with the tasks, if not the leaderboard's three")] = None,
    data: Annotated[str | None, Option(help="sample, hub, or a folder with the CS224N files [sample]")] = None,
    out: Annotated[Path | None, Option(help="folder of the search [runs/DATE-SPACE]")] = None,
    resume: Annotated[Path | None, Option(help="folder of a search to go on with")] = None,
    trials: Annotated[str | None, Option(help="trials in all, or +N to add N to a search that is resumed [12]")] = None,
    space: Annotated[
        str | None, Option(help="a space's name, a YAML file with one, or --print-config's [leaderboard; basics for other tasks]")
    ] = None,
    study: Annotated[
        str | None, Option(help="train the rows of a paper's table, each in full; python -m search_spaces.list names them")
    ] = None,
    rows: Annotated[str | None, Option(help="some rows of the study, such as baseline,pcgrad [all]")] = None,
    seeds: Annotated[int | None, Option(help="how often each row of a study is trained [2]")] = None,
    searcher: Annotated[str | None, Option(help="tpe, random or grid [tpe]")] = None,
    budget: Annotated[int | None, Option(help=f"examples of a full trial [one pass; {SAMPLE_BUDGET} on the sample]")] = None,
    time_budget: Annotated[str | None, Option(help="stop after so long: 90s, 40m, 1h30m; resumable")] = None,
    hang_limit: Annotated[
        str | None,
        Option(help="end a trial that is silent for longer: 5m [5 times the longest report so far, at least 10m]"),
    ] = None,
    concurrency: Annotated[int | None, Option(help="trials at once [as many as the CPUs and GPUs hold]")] = None,
    cpus_per_trial: Annotated[int | None, Option(help="CPUs, and threads, of each trial [1]")] = None,
    gpus_per_trial: Annotated[float | None, Option(help="GPUs of each trial; 0.25: four trials share one [0]")] = None,
    early_stopping: Annotated[str | None, Option(help="asha or none [asha]")] = None,
    reduction_factor: Annotated[int | None, Option(help="ASHA lets one trial of so many go on at each rung [3]")] = None,
    audit_share: Annotated[
        float | None, Option(help="of the trials that ASHA stops, run on to judge it by; 0: none [0.05, at least one]")
    ] = None,
    confirm: Annotated[
        int | None, Option(help="train so many of the best again, to prove the winner on rows of dev kept for it; 0: none [4]")
    ] = None,
    confirm_seeds: Annotated[
        int | None, Option(help="new seeds for each of them, and for the config that all trials start from [3]")
    ] = None,
    keep_models: Annotated[int | None, Option(help="keep the weights of this many best trials [4]")] = None,
    address: Annotated[
        str | None, Option(help="auto: join the Ray cluster that runs here, HOST:PORT: that one [start Ray on this machine]")
    ] = None,
    seed: Annotated[int | None, Option(help="of the searcher and of the trials' own seeds [0]")] = None,
    config: Annotated[
        Path | None, Option(help="YAML file with the config under all trials, or what --print-config printed")
    ] = None,
    set_: Annotated[
        list[str] | None,
        Option("--set", help="PATH=VALUE in it, such as optimizer.lr=3e-5; then it does not vary"),
    ] = None,
    ledger: Annotated[str | None, Option(help="postgresql://USER@HOST/DATABASE that holds the ledger [a file]")] = None,
    storage: Annotated[
        str | None,
        Option(help="s3://BUCKET/PATH, gs://... or file:///PATH for checkpoints and models [the search's folder]"),
    ] = None,
    tracking_uri: Annotated[str | None, Option(help="MLflow server or store [sqlite:///runs/mlflow.db]")] = None,
    register_as: Annotated[
        str | None, Option("--register", help="name under which MLflow's model registry gets the winner, as champion [none]")
    ] = None,
    without_lost: Annotated[
        bool, Option(WITHOUT_LOST, help="go on after damage without the trials of which nothing is left; they count as failed")
    ] = False,
    print_config: Annotated[
        bool,
        Option("--print-config", help="print settings, space and config as YAML (--config and --space read it), start nothing"),
    ] = False,
    plan_only: Annotated[
        bool,
        Option("--plan", help="print what it would take (time, cost, disk, memory), after timing a few steps; start nothing"),
    ] = False,
    plan_first: Annotated[
        bool, Option("--plan-first", help="make that plan, print it, keep it in the ledger beside what then happens, and search")
    ] = False,
    price: Annotated[
        float | None, Option(help="with a plan: money for an hour of a worker, or of a GPU where trials use some")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="with --plan: print one JSON object")] = False,
    quiet: Annotated[bool, Option("--quiet", "-q", help="no progress, only the result")] = False,
) -> None:
    """Takes the command line apart, looks at everything, then searches."""
    given = {key: value for key, value in locals().items() if value is not None}
    errors = errors_console()
    try:
        folder, plan, cluster = _look_at(given)
    except DataChangedError as error:
        raise typer.Exit(_complain(errors, error, EXIT_DATA_CHANGED)) from None
    except Exception as error:
        if not (isinstance(error, ValueError | OSError) or is_disk_full(error)):
            raise
        raise typer.Exit(_complain(errors, error, EXIT_MISTAKE)) from None
    if print_config:
        typer.echo(dump_yaml(plan.for_people()), nl=False)
        return
    expected = _expected(folder, plan, cluster, given) if plan_only or plan_first else None
    if plan_only:
        return
    from tuner.driver import drive  # Ray, Optuna: seconds, and only once there is something to do

    try:
        code = drive(folder, plan, cluster, is_new=resume is None, quiet=quiet, expected=expected)
    except KeyboardInterrupt:
        errors.print(f"stopped at once; go on with: {search_folder.resume_command(folder, joins=cluster is not None)}")
        code = EXIT_INTERRUPTED
    except Exception as error:
        if not (isinstance(error, ConfigError | LedgerError) or is_disk_full(error)):
            raise
        code = _complain(errors, error, EXIT_MISTAKE)
    raise typer.Exit(code)


def _look_at(given: Mapping[str, Any]) -> tuple[Path, SearchPlan, Cluster | None]:
    """Folder, plan and cluster of what the command line asks for.

    Raises:
        ConfigError, LedgerError: every mistake in it, or in the cluster's nodes.
    """
    problems = Problems()
    cluster = problems.attempt(lambda: find_cluster(given["address"])) if "address" in given else None
    folder, plan = _look_at_search(given, problems)
    if cluster is not None and not given["print_config"]:
        check_nodes(cluster, folder, plan)
    return folder, plan, cluster


def _expected(folder: Path, plan: SearchPlan, cluster: Cluster | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Makes a plan and shows it.

    Raises:
        typer.Exit: it cannot be made, or somebody interrupts.
    """
    from tuner.plan_command import plan_search, show  # Optuna: seconds

    errors = errors_console()
    try:
        made = plan_search(folder, plan, cluster, is_new="resume" not in given, price=given.get("price"))
    except (ConfigError, LedgerError) as error:
        raise typer.Exit(_complain(errors, error, EXIT_MISTAKE)) from None
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was started")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if given.get("plan_only") or not given["quiet"]:
        show(made, as_json=given["as_json"])
    return made.to_tree()


def _wrong_with_plan(given: Mapping[str, Any]) -> list[str]:
    """Options of a plan without one, or that do not go together."""
    price, out = given.get("price"), []
    if given.get("plan_only") and given.get("plan_first"):
        out.append("--plan-first: --plan alone starts nothing; leave one of them out")
    if given.get("plan_first") and "resume" in given:
        out.append("--plan-first: the plan of a search is kept as it was made before it began; --plan shows what is left")
    if given["print_config"] and (given.get("plan_only") or given.get("plan_first")):
        out.append("--print-config: it starts nothing and times nothing; leave it out with a plan")
    if given.get("as_json") and not given.get("plan_only"):
        out.append("--json: is of a plan; --plan must be given with it")
    if price is not None and not (given.get("plan_only") or given.get("plan_first")):
        out.append("--price: is of a plan; --plan or --plan-first must be given with it")
    if price is not None and not (math.isfinite(price) and price >= 0):
        out.append(f"--price: a number >= 0 must be given, but got {price:g}")
    return out


def _look_at_search(given: Mapping[str, Any], problems: Problems) -> tuple[Path, SearchPlan]:
    """Folder and plan of what the command line asks for; `problems` holds the mistakes found so far.

    Raises:
        ConfigError, LedgerError: every mistake in it.
    """
    problems.add(*_wrong_with_plan(given))
    changes = {key: given[key] for key in _AS_THEY_ARE if key in given}
    if "time_budget" in given:
        changes["time_budget_seconds"] = problems.attempt(lambda: parse_duration(given["time_budget"]))
    if "hang_limit" in given:
        changes["hang_limit_seconds"] = problems.attempt(lambda: parse_duration(given["hang_limit"], "--hang-limit"))
    if "seeds" in given:
        changes["seeds"] = given["seeds"]
    if "resume" in given:
        if not (given["print_config"] or given.get("plan_only")):
            _recover(given["resume"], without_lost=given["without_lost"])
        return given["resume"], _look_at_resumed(given, changes, problems)
    if "trials" in given:
        changes["trials"] = problems.attempt(lambda: parse_num_trials(given["trials"], None)) or 1
    problems.add(*_misplaced(given))
    if "rows" in given:
        changes["rows"] = [name.strip() for name in given["rows"].split(",")]
    for key in ("space", "study", "searcher", "seed", "cpus_per_trial", "early_stopping", "reduction_factor"):
        if key in given:
            changes[key] = given[key]
    if "out" in given:
        problems.add(*search_folder.check_new(given["out"]))
    set_texts = [*given.get("set_", []), *([f"budget_examples={given['budget']}"] if "budget" in given else [])]
    files = {"config_file": given.get("config"), "tasks_file": given.get("tasks")}
    plan = prepare(changes, **files, set_texts=set_texts, data=given.get("data"), problems=problems)
    folder = given.get("out") or search_folder.default_folder(plan.settings.space, datetime.date.today())
    return folder, plan


def _recover(folder: Path, *, without_lost: bool) -> None:
    """Makes a damaged ledger whole again, and says so.

    Raises:
        ConfigError: another driver is at work here, or a link lies in the folder.
        LedgerError: it cannot be made whole.
    """
    search_folder.check_links(folder)
    if not any((folder / name).exists() for name in (LEDGER_FILE, BACKUP_FILE)):
        return
    from tuner.recovery import recover  # Optuna: seconds, where a machine is busy

    with search_folder.locked(folder):
        for line in recover(folder, without_lost=without_lost):
            typer.echo(visible_lines(f"restored: {line}"), err=True)


def _misplaced(given: Mapping[str, Any]) -> list[str]:
    """Options of a space beside a study, or of a study without one."""
    if "study" in given:
        return [
            f"{option}: a study has its own tasks, and trains its rows in full, without a searcher; leave it out with --study"
            for option, key in _OF_A_SPACE.items()
            if key in given
        ]
    return [f"--{key}: is of a study; --study NAME must be given with it" for key in ("rows", "seeds") if key in given]


def _look_at_resumed(given: Mapping[str, Any], changes: dict[str, Any], problems: Problems) -> SearchPlan:
    fixed = [option for option, key in _FIXED_ONCE_BEGUN.items() if key in given]
    problems.add(*(f"{option}: cannot change once a search has begun; leave it out with --resume" for option in fixed))
    from tuner.ledger import Ledger

    before = Ledger.read(given["resume"]).header.get("settings", {})
    search_folder.check_links(given["resume"])
    already, of_study = int(before.get("trials", 1)), before.get("study") is not None
    if "trials" in given and of_study:
        problems.add("--trials: this search trains the rows of a study; --seeds N trains each of them N times")
    elif "trials" in given:
        changes["trials"] = problems.attempt(lambda: parse_num_trials(given["trials"], already)) or already
    if "seeds" in given and not of_study:
        problems.add("--seeds: this search has no study; --trials +N adds trials")
    changes.setdefault("time_budget_seconds", None)
    return prepare_resume(given["resume"], changes, given.get("space"), problems)


def _complain(console: Console, error: Exception, code: int) -> int:
    if is_disk_full(error):
        console.print(f"the disk is full, nothing was started: {' '.join(str(error).split())[:300]}")
        return EXIT_DISK_FULL
    problems = sentences_of(error)
    console.print("Nothing was started:" if len(problems) == 1 else f"Nothing was started, for {len(problems)} reasons:")
    for problem in problems:
        console.print(f"  {problem}")
    return code


def run() -> NoReturn:
    """The command.

    Where Ray was started, Python's own end is left out: threads of Ray's compiled part outlive `ray.shutdown`, and one such end
    in sixteen, on a busy machine after a signal, was a segmentation fault after everything had been done and printed.  So it is
    after an interruption: where that fell into code run by a compiled module, Python would end itself by SIGINT once more.
    """
    try:
        app()
    except SystemExit as ended:
        if not isinstance(ended.code, int) or not ("ray" in sys.modules or ended.code == EXIT_INTERRUPTED):
            raise
        code = ended.code
    gc.collect()  # what still holds the ledger's file closes it
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            file.flush()
    os._exit(code)


if __name__ == "__main__":
    keep_files_private()
    run()
