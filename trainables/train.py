"""`python -m trainables.train`: one config from start to end, without Ray.  The same numbers as the same config in a search.

Exit codes: 0 done; 1 it diverged or the disk failed; 2 a mistake in what was asked for, nothing was started; 130 interrupted.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from trainables.config import TrialConfig, read_config
from trainables.files import write_atomically
from trainables.inputs import Inputs, open_inputs, with_absolute_paths
from trainables.parts import ConfigError
from trainables.paths import parse_assignments, write_yaml
from trainables.plain_files import dump_yaml
from trainables.secrecy import keep_files_private
from trainables.tasks import TaskSet, best_report

if TYPE_CHECKING:
    from trainables.steps import Metrics
    from trainables.trainer import Trainer

EXIT_FAILED, EXIT_MISTAKE, EXIT_INTERRUPTED = 1, 2, 130
NUM_ROWS_SHOWN = 10

Say = Callable[[str], None]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help="Train one config and print a line a report.  Its score is that of its best report.")
def main(  # noqa: PLR0917 - a command line
    config: Annotated[Path | None, Option(help="YAML file with a trial's config, such as best/config.yaml")] = None,
    tasks: Annotated[Path | None, Option(help="YAML file with the tasks, if not the leaderboard's three")] = None,
    data: Annotated[str | None, Option(help="sample, hub, or a folder with the CS224N files [sample]")] = None,
    set_: Annotated[list[str] | None, Option("--set", help="PATH=VALUE in the config, such as optimizer.lr=3e-5")] = None,
    out: Annotated[Path | None, Option(help="folder for checkpoints/, best/ and metrics.json [nothing is kept]")] = None,
    print_config: Annotated[bool, Option("--print-config", help="print the config as YAML, start nothing")] = False,
    quiet: Annotated[bool, Option("--quiet", "-q", help="no progress, only the result")] = False,
    resume: Annotated[bool, Option("--resume", help="go on from the newest good checkpoint in --out")] = False,
) -> None:
    """Looks at everything, then trains."""
    say: Say = (lambda line: None) if quiet else typer.echo  # noqa: ARG005
    try:
        trial = _resolve_config(config, tasks, data, set_ or [], out, resume=resume)
        if print_config:
            typer.echo(dump_yaml(trial.to_tree()), nl=False)
            return
        inputs = open_inputs(trial)
        _describe(inputs, say)
        best = _train(inputs, out, say)
    except ValueError as error:
        raise _exit(str(error), EXIT_MISTAKE) from None
    except OSError as error:
        raise _exit(str(error), EXIT_FAILED) from None
    except KeyboardInterrupt:
        way_on = f"go on with: python -m trainables.train --resume --out {out}" if out else "without --out nothing is kept"
        raise _exit(f"interrupted; {way_on}", EXIT_INTERRUPTED) from None
    share, num_reports = inputs.config.early_dev_share, inputs.config.num_reports
    early = f" (a score before the last is of {share:.0%} of dev: it does not compare)" if share < 1 < num_reports else ""
    typer.echo(f"best score {best['score']:.4f}, report {best['report']} of {num_reports}{early}")
    if out is not None:
        say(f"model {out / 'best'}, metrics {out / 'metrics.json'}")


def _exit(message: str, code: int) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(code)


def _resolve_config(
    file: Path | None, tasks: Path | None, data: str | None, sets: list[str], out: Path | None, *, resume: bool
) -> TrialConfig:
    """The config that file and options give.

    Raises:
        ConfigError: every mistake in them, and an `out` that cannot be used.
    """
    problems = _problems_of_out(out, resume=resume)
    if resume and out is not None and file is None and not problems:
        file = out / "config.yaml"
    assignments = {} if data is None else {"data.source": data}
    for text in sets:
        try:
            assignments |= parse_assignments([text])
        except ConfigError as error:
            problems += error.problems
    try:
        trial = read_config(file, tasks).override(assignments)
    except ConfigError as error:
        raise ConfigError(problems + error.problems) from None
    if problems:
        raise ConfigError(problems)
    return with_absolute_paths(trial)


def _problems_of_out(out: Path | None, *, resume: bool) -> list[str]:
    if out is None:
        return ["--resume needs --out, the folder to go on in"] if resume else []
    if out.exists() and not out.is_dir():
        return [f"--out {out}: this is a file"]
    if resume and not (out / "config.yaml").is_file():
        return [f"--out {out}: there is no run to go on with (no config.yaml)"]
    if not resume and out.exists() and any(out.iterdir()):
        return [f"--out {out}: not empty; name another folder, or go on in it with --resume"]
    return []


def _describe(inputs: Inputs, say: Say) -> None:
    """The resolved set-up in two lines, and the rows left out."""
    config, files, store = inputs.config, inputs.files, inputs.store
    rows = ", ".join(f"{task} {table.num_rows}" for (task, split), table in store.tables.items() if split == "train")
    say(
        f"encoder {files.name}: {files.num_layers} layers, {files.hidden_size} wide; "
        f"data {config.data.source}: training rows {rows}"
    )
    say(f"{config.budget_examples} examples in {config.num_reports} reports, batch {config.data.batch_size}, seed {config.seed}")
    for row in store.left_out[:NUM_ROWS_SHOWN]:
        say(f"left out: {row}")
    if len(store.left_out) > NUM_ROWS_SHOWN:
        say(f"left out: and {len(store.left_out) - NUM_ROWS_SHOWN} more rows")


def _train(inputs: Inputs, out: Path | None, say: Say) -> "Metrics":
    """Runs to the end; the best report."""
    from trainables.session import TrialSession  # torch: seconds, and only once there is something to do
    from trainables.trainer import Diverged, Trainer

    try:
        if out is None:
            trainer = Trainer(inputs.config, token_store=inputs.store)
            return _run(trainer, trainer.advance, out, say)
        out.mkdir(parents=True, exist_ok=True)
        if not (out / "config.yaml").exists():
            write_yaml(inputs.config.to_tree(), out / "config.yaml")
        session = TrialSession(inputs.config, out, token_store=inputs.store)
        return _run(session.trainer, session.next_report, out, say)
    except Diverged as error:
        raise _exit(f"diverged: {error}", EXIT_FAILED) from None


def _run(trainer: "Trainer", next_report: Callable[[], "Metrics"], out: Path | None, say: Say) -> "Metrics":
    tasks = trainer.config.tasks
    columns = ("report", "examples", "score", *tasks.names, "loss", "lr", "tokens/s", "seconds")
    say("".join(f"{column:>10}" for column in columns))
    for metrics in trainer.history:
        say(_row(metrics, tasks))
    while not trainer.done:
        say(_row(next_report(), tasks))
    best = best_report(trainer.history)
    assert best is not None
    if out is not None:
        content = json.dumps({"best": best, "reports": trainer.history}, indent=1) + "\n"
        write_atomically(out / "metrics.json", content.encode())
    return best


def _row(metrics: "Metrics", tasks: TaskSet) -> str:
    cells = [str(metrics["report"]), str(metrics["examples"])]
    cells += [f"{metrics[key]:.4f}" for key in ("score", *(task.metric_key for task in tasks.tasks), "loss")]
    cells += [f"{metrics['lr']:.1e}", f"{metrics['tokens_per_second']:.0f}" if metrics["tokens_per_second"] else "-"]
    cells += [f"{metrics['train_seconds'] + metrics['eval_seconds']:.1f}"]
    return "".join(f"{cell:>10}" for cell in cells)


if __name__ == "__main__":
    keep_files_private()
    app()
