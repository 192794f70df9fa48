"""`python -m tuner.export DIR`: the best of a search as a folder that anybody can load, train again and hand in.

With `--ensemble`: the predictions of several exports together (`tuner.ensemble`).  With `--verify`: an export is trained again
(`tuner.verification`).

best/
config.yaml              trains it again: python -m trainables.train --config best/config.yaml
encoder/                 transformers.AutoModel.from_pretrained reads it
heads.safetensors        the three heads
metrics.json             scores, curve, cost; `dev`: what it gets right and wrong; `claim`: what may be said of it; where its
                         config was confirmed: `interval` of the mean of its trainings, and in `interval_of` which they are
lineage.json             code, packages, machine, data hashes, seeds
predictions/             the six CS224N prediction files (test files where there are test rows)
README.md                the model card
reproduce.sh             trains it again, wherever it lies and from whatever folder it is called
manifest.json            size and sha256 of each of these files: `python -m tuner.doctor` tells which have changed since

Exit codes: 0 done; 1 `--verify`: another score, and outside the interval; 2 a mistake in what was asked for; 3 `--verify`: the
data changed; 130 interrupted.
"""

import itertools
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from typer import Argument, Option

from trainables.background import in_background
from trainables.checkpoints import MANIFEST, seal
from trainables.config import TrialConfig
from trainables.data.rows import Split
from trainables.inputs import DataChangedError
from trainables.parts import ConfigError, Problems
from trainables.paths import read_yaml
from trainables.secrecy import keep_files_private
from trainables.stored_trial import METRICS
from trainables.tasks import TaskSet
from trainables.threads import torch_threads
from tuner import search_folder, verification
from tuner.choosing import ExportError, choose, in_order_of_choice, storage_of, weights_of
from tuner.confirmation import Confirmed, confirmation_of
from tuner.console import errors_console, visible, visible_lines
from tuner.dev_figures import dev_figures, worst_errors
from tuner.ensemble import export_ensemble, table
from tuner.handover import exported_trial, problems_of_out, written_whole
from tuner.interrupts import EXIT_INTERRUPTED, Interrupts
from tuner.ledger import Ledger
from tuner.model_card import LUCKY, Findings, model_card
from tuner.predictions import write_predictions
from tuner.processes import count_cpus
from tuner.records import TrialRecord
from tuner.reproduction import reproduce_script
from tuner.settings import parse_model_name
from tuner.tracking import register_export
from tuner.verification import LINEAGE, TOLERANCES, look_at, train_again

if TYPE_CHECKING:
    from trainables.data.tokens import TokenStore
    from trainables.evaluation import Evaluation

SCRIPT = "reproduce.sh"
_OLDER_FILES = ("config.yaml", "encoder", "heads.safetensors", METRICS, LINEAGE, "predictions", "README.md")
"""Of an export from before there were `reproduce.sh` and the manifest."""
FILES = (*_OLDER_FILES, SCRIPT, MANIFEST)
MORE_WEIGHTS = ("encoder_pairs", "lora.safetensors")
"""What lies in some exports beside `FILES`."""

EXIT_OTHER_SCORE, EXIT_MISTAKE, EXIT_DATA_CHANGED = 1, 2, 3
_INTERRUPTED = "interrupted; nothing was written"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def export_best(
    folder: Path,
    *,
    ledger: Ledger | None = None,
    trial: int | None = None,
    out: Path | None = None,
    say: Callable[[str], object] = lambda _line: None,
) -> tuple[Path, TrialRecord]:
    """Exports the best trial of the search in `folder`, or the one asked for, loads the export again and scores it.

    Args:
        folder: of the search.
        ledger: of the search, if it is open already.
        trial: number of the trial to export; None: the best.
        out: the folder to write, new, empty or an older export; None: the search's `best/`, or of the trial asked for its
            `export-0007/`.
        say: is called with a line for each better trial whose weights are damaged.

    Returns:
        The folder written, and the record of the trial in it.

    Raises:
        LedgerError: no search there.
        ExportError: no trial with weights, or an `out` that holds something else; or the reloaded model's score is not the
            recorded one, and then the folder is what it was before.
        StorageError: the search's storage cannot be reached.
    """
    ledger = ledger or Ledger.read(folder)
    problems = [] if out is None else problems_of_out(out, "an export", needed=_OLDER_FILES, known=[*FILES, *MORE_WEIGHTS])
    try:
        records = ledger.records()
        confirmed = confirmation_of(ledger.header, records)
        record = choose(folder, records, trial, say, storage=storage_of(ledger), confirmed=confirmed)
    except ExportError as error:
        raise ExportError([*error.problems, *problems]) from None
    if problems:
        raise ExportError(problems)
    target = out or search_folder.export_folder(folder, trial)
    header, source = ledger.header, weights_of(folder, record)
    better = itertools.takewhile(lambda other: other != record, in_order_of_choice(records, confirmed) if trial is None else [])
    if (only := next((other for other in better if exported_trial(target) == (other.number, other.score)), None)) is not None:
        say(f"trial {only.number}: {target} alone still holds its model: that is exported again")
        record, source = only, target
    with written_whole(target) as aside:
        shutil.copytree(source, aside)
        for name in (MANIFEST, METRICS):
            (aside / name).unlink(missing_ok=True)
        of_config, claim = confirmed.config_of(record.number), confirmed.said_of(record)
        findings = replace(_predict_and_check(aside, record), confirmed=of_config, claim=claim)
        search_folder.write_json(aside / METRICS, _metrics(record, findings))
        search_folder.write_json(aside / LINEAGE, _lineage(header, record))
        card = model_card(header, record, chosen=trial is None, findings=findings)
        (aside / "README.md").write_text(visible_lines(card), encoding="utf-8")
        _write_script(aside / SCRIPT, header, record)
        seal(aside)
    return target, record


def import_libraries() -> None:
    """Imports what an export takes seconds to import: a signal that falls into that is swallowed by code that is imported."""
    import trainables.evaluation
    import trainables.model.files  # noqa: F401


def _predict_and_check(aside: Path, record: TrialRecord) -> Findings:
    """Loads what was exported, scores it on dev, and writes predictions; what dev says of it."""
    from trainables.data.tokens import tokenise
    from trainables.evaluation import evaluate, joined
    from trainables.model.files import load_model

    config, model = load_model(aside)
    store = tokenise(config.data, config.encoder, config.tasks)
    with torch_threads(config.num_threads):
        score_test = partial(evaluate, model, store, "test")
        has_room = count_cpus() >= 2 * config.num_threads
        test = in_background(score_test) if has_room else None
        evaluations = {"dev": evaluate(model, store, "dev"), "test": test.result() if test else score_test()}
        dev_share = float((record.best_report or {}).get("dev_share", 1.0))
        score = (evaluations["dev"] if dev_share == 1 else evaluate(model, store, share=dev_share)).metrics["score"]
        dev = evaluations["dev"]
        if store.confirm_places:
            dev = joined(config.tasks, dev, evaluate(model, store, "confirm"), store.confirm_places)
    if record.score is None or not abs(score - record.score) <= TOLERANCES[config.precision]:
        raise ExportError([f"trial {record.number}: the exported model scores {score}, but the ledger says {record.score}"])
    predictions: dict[Split, dict[str, np.ndarray]] = {"dev": dev.predictions}
    if evaluations["test"].predictions:
        predictions["test"] = evaluations["test"].predictions
    write_predictions(aside / "predictions", store, config.tasks, predictions)
    return _findings(config.tasks, store, dev)


def _findings(tasks: TaskSet, store: "TokenStore", dev: "Evaluation") -> Findings:
    rows: dict[str, dict[str, int]] = {name: {} for name in tasks.names}
    for (name, split), tokens in store.tables.items():
        rows[name][split] = tokens.num_rows
    figures = dev_figures(tasks, dev.labels, dev.predictions, dev.metrics)
    for task in tasks.tasks:
        if task.target == "binary":
            worst = worst_errors(store.ids(task.name, "dev"), dev.labels[task.name], dev.outputs[task.name])
            figures["tasks"][task.name]["worst"] = worst
    return Findings(figures, rows, len(store.left_out))


def _write_script(file: Path, header: dict[str, Any], record: TrialRecord) -> None:
    config = TrialConfig.parse(read_yaml(file.with_name("config.yaml")))
    file.write_text(reproduce_script(config, header, record), encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def _metrics(record: TrialRecord, findings: Findings) -> dict[str, Any]:
    return {
        "trial": record.number,
        "state": record.state,
        "best_report": record.best_report,
        "dev": findings.dev,
        **_confirmed(findings.confirmed),
        "claim": findings.claim,
        "train_seconds": record.train_seconds,
        "budget_used": record.budget_used,
        "reports": list(record.reports),
    }


def _confirmed(config: Confirmed | None) -> dict[str, Any]:
    """The interval, and what it is of: the mean of a config's trainings."""
    if config is None:
        return {}
    of = {"trial": config.trial, "trainings": list(config.trainings), "mean": config.estimate.mean}
    return {"interval": [config.estimate.low, config.estimate.high], "interval_of": of}


def _lineage(header: dict[str, Any], record: TrialRecord) -> dict[str, Any]:
    return {
        "search": header.get("id"),
        "trial": record.number,
        **record.lineage,
        "search_seed": record.lineage.get("seed"),
        "seed": record.config.get("seed"),
        "assignment": record.assignment,
        "data_hashes": header.get("data_hashes"),
        "encoder_sha256": header.get("encoder_sha256"),
        "settings": header.get("settings"),
    }


@app.command(
    help="Export the best trial of a search to DIR/best, and check that it scores what was recorded.  "
    "With --ensemble: put several exported models together, and write what they predict.  "
    "With --verify: train an export again, and say whether it scores what is recorded."
)
def main(  # noqa: PLR0917 - a command line
    folders: Annotated[
        list[Path], Argument(metavar="DIR...", help="folder of a search; with --ensemble and --verify of exported models")
    ],
    trial: Annotated[int | None, Option(help="export this trial instead of the best")] = None,
    out: Annotated[
        Path | None, Option(help="folder to write [DIR/best; --trial: DIR/export-N; --ensemble: runs/DATE-ensemble]")
    ] = None,
    ensemble: Annotated[bool, Option("--ensemble", help="each DIR is an exported model, or has one in its best/")] = False,
    how: Annotated[str | None, Option(help="of an ensemble: average, or best_per_task [average]")] = None,
    data: Annotated[
        str | None, Option(help="--ensemble is scored, --verify trains on: sample, hub, a folder [the models']")
    ] = None,
    verify: Annotated[bool, Option("--verify", help="train DIR or DIR/best again; exit code 1: another score")] = False,
    register: Annotated[str | None, Option(help="name under which MLflow's model registry gets it, as champion [none]")] = None,
) -> None:
    """Exports, and says what was written; or verifies."""
    try:
        _check_options(folders, trial=trial, ensemble=ensemble, how=how, data=data, verify=verify, out=out, register=register)
        if verify:
            raise typer.Exit(_verify(folders[0], data))
        if ensemble:
            said = [_export_ensemble(folders, how or "average", data, out)]
        else:
            said, written = _export_trial(folders[0], trial, out)
        typer.echo(visible_lines("\n".join(said)))
        if register is not None:
            typer.echo(visible_lines(register_export(folders[0], written, register)))
    except DataChangedError as error:
        raise _exit(str(error), EXIT_DATA_CHANGED) from None
    except (ValueError, OSError) as error:
        raise _exit(str(error), EXIT_MISTAKE) from None
    except KeyboardInterrupt:
        raise _exit(_INTERRUPTED, EXIT_INTERRUPTED) from None


def _exit(message: str, code: int) -> typer.Exit:
    errors_console().print(message)
    return typer.Exit(code)


def _check_options(
    folders: list[Path],
    *,
    trial: int | None,
    ensemble: bool,
    how: str | None,
    data: str | None,
    verify: bool,
    out: Path | None,
    register: str | None,
) -> None:
    """Refuses options that have no say in what was asked for."""
    problems = []
    if verify:
        beside = {"--trial": trial, "--ensemble": ensemble or None, "--out": out, "--register": register}
        problems += [
            f"{option} has no say beside --verify, which writes nothing" for option, v in beside.items() if v is not None
        ]
    if ensemble and trial is not None:
        problems.append("--trial is for one search; the folder of a trial may itself be a member: DIR/trials/0007")
    if ensemble and register is not None:
        problems.append("--register is for one search: an ensemble is predictions, without weights")
    name = Problems()
    name.attempt(lambda: parse_model_name(register) if register is not None else None)
    problems += name.sentences
    if not ensemble and len(folders) > 1:
        done = "verified" if verify else "exported"
        problems.append(f"one search is {done} at a time, but got {len(folders)}; --ensemble puts several models together")
    if not ensemble:
        given = {"--how": how, **({} if verify else {"--data": data})}
        problems += [f"{option} is for --ensemble" for option, value in given.items() if value is not None]
    if problems:
        raise ConfigError(problems)


def _export_trial(folder: Path, trial: int | None, out: Path | None) -> tuple[list[str], Path]:
    """What there is to say, and the folder written."""
    Ledger.read(folder)
    search_folder.check_links(folder)
    with search_folder.locked(folder):
        lines: list[str] = []
        written, record = export_best(folder, trial=trial, out=out, say=lines.append)
    return [*lines, f"{written}: trial {record.number}, score {record.score:.4f}; loaded again, it scores the same"], written


def _verify(folder: Path, data: str | None) -> int:
    recorded = look_at(folder, data)
    with Interrupts(_INTERRUPTED).heard() as interrupts:
        with interrupts.noted():
            verification.import_libraries()
        interrupts.check()
        found = train_again(recorded, say=lambda line: typer.echo(visible(line)))
    typer.echo(visible_lines("\n".join(found.lines())))
    return 0 if found.is_verified else EXIT_OTHER_SCORE


def _export_ensemble(folders: list[Path], how: str, data: str | None, out: Path | None) -> str:
    written, ensemble = export_ensemble(folders, how=how, data=data, out=out)
    scored = ensemble.together[how]
    return f"{table(ensemble)}\n{LUCKY}\n{written}: {how} of {len(folders)} models, score {scored.metrics['score']:.4f}"


if __name__ == "__main__":
    keep_files_private()
    app()
