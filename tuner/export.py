"""`python -m tuner.export DIR`: the best of a search as a folder that anybody can load, train again and hand in.

With `--ensemble`: the predictions of several exports together (`tuner.ensemble`).

best/
config.yaml              trains it again: python -m trainables.train --config best/config.yaml
encoder/                 transformers.AutoModel.from_pretrained reads it
heads.safetensors        the three heads
metrics.json             scores, curve, cost
lineage.json             code, packages, machine, data hashes, seeds
predictions/             the six CS224N prediction files (test files where there are test rows)
README.md                the model card
"""

import itertools
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from typer import Argument, Option

from trainables.background import in_background
from trainables.checkpoints import MANIFEST, verify
from trainables.data.rows import Split
from trainables.parts import ConfigError
from trainables.plain_files import read_json
from trainables.secrecy import keep_files_private
from trainables.storage import DamagedError
from trainables.threads import torch_threads
from tuner import search_folder
from tuner.console import errors_console, visible_lines
from tuner.ensemble import export_ensemble, table
from tuner.handover import exported_trial, problems_of_out, written_whole
from tuner.ledger import Ledger
from tuner.model_card import LUCKY, model_card
from tuner.predictions import write_predictions
from tuner.processes import count_cpus
from tuner.records import TrialRecord, rank
from tuner.stored_trials import search_place, stored_trial

FILES = ("config.yaml", "encoder", "heads.safetensors", "metrics.json", "lineage.json", "predictions", "README.md")
MORE_WEIGHTS = ("encoder_pairs", "lora.safetensors")
"""What lies in some exports beside `FILES`."""

TOLERANCES = {"fp32": 1e-6, "tf32": 5e-3, "bf16": 5e-3}
"""How far the score of the exported model may lie from the recorded one, by precision: nothing on the machine that trained it in
fp32; in the coarser ones a few rows are decided otherwise where the export runs on another device."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class ExportError(ConfigError):
    """The search has nothing that can be exported, or what was exported does not score what the ledger says."""


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
    problems = [] if out is None else problems_of_out(out, "an export", needed=FILES, known=[*FILES, *MORE_WEIGHTS])
    try:
        records = ledger.records()
        record = choose(folder, records, trial, say, storage=_storage_of(ledger))
    except ExportError as error:
        raise ExportError([*error.problems, *problems]) from None
    if problems:
        raise ExportError(problems)
    target = out or folder / (search_folder.BEST if trial is None else f"export-{trial:04d}")
    header, source = ledger.header, _weights_of(folder, record)
    better = itertools.takewhile(lambda other: other != record, rank(records) if trial is None else [])
    if (only := next((other for other in better if exported_trial(target) == (other.number, other.score)), None)) is not None:
        say(f"trial {only.number}: {target} alone still holds its model: that is exported again")
        record, source = only, target
    with written_whole(target) as aside:
        shutil.copytree(source, aside)
        for name in (MANIFEST, "metrics.json"):
            (aside / name).unlink(missing_ok=True)
        _predict_and_check(aside, record)
        search_folder.write_json(aside / "metrics.json", _metrics(record))
        search_folder.write_json(aside / "lineage.json", _lineage(header, record))
        (aside / "README.md").write_text(model_card(header, record, chosen=trial is None), encoding="utf-8")
    return target, record


def choose(
    folder: Path,
    records: list[TrialRecord],
    trial: int | None = None,
    say: Callable[[str], object] = lambda _line: None,
    *,
    storage: str | None = None,
) -> TrialRecord:
    """The trial asked for, or the best that still has the weights of its best report: one with its full budget if there is any.

    A trial that was cut off may have written newer weights than the ledger has heard of; those are passed over.  So are damaged
    ones, of which `say` hears.  Where the search has a storage, the weights lie in the trial's folder once it is chosen.

    Raises:
        ExportError: there is none, or the one asked for is none of the search's, has no report or no weights.
        StorageError: the storage cannot be reached.
    """
    if trial is not None:
        return _asked_for(folder, records, trial, storage)
    for record in rank(records):
        if (there := _score_there(folder, record, storage)) != record.score:
            if there is None and storage is None and (unread := _weights_of(folder, record) / "metrics.json").exists():
                say(f"trial {record.number}: its weights are damaged ({unread}: cannot be read); the next best is exported")
            continue
        if not (problems := _brought(folder, record, storage)):
            return record
        say(f"trial {record.number}: its weights are damaged ({problems[0]}); the next best is exported")
    raise ExportError([f"{folder}: nothing to export, for no trial has a report and its weights"])


def _asked_for(folder: Path, records: list[TrialRecord], trial: int, storage: str | None) -> TrialRecord:
    by_number = {record.number: record for record in records}
    if trial not in by_number:
        raise ExportError([f"--trial: {folder} has no trial {trial}; its trials are 0 to {max(by_number, default=-1)}"])
    record = by_number[trial]
    if record.score is None:
        raise ExportError([f"--trial: trial {trial} ({record.state}) has no report, and so no model"])
    if _score_there(folder, record, storage) != record.score:
        kept = [r.number for r in records if r.score is not None and _score_there(folder, r, storage) == r.score]
        there = f"those of trials {', '.join(map(str, kept))} are" if kept else "of this search none are"
        raise ExportError([f"--trial: the weights of trial {trial}'s best report are not there; {there}"])
    if problems := _brought(folder, record, storage):
        raise ExportError(["--trial: the weights are damaged", *problems])
    return record


def _storage_of(ledger: Ledger) -> str | None:
    header = ledger.header
    return search_place(header, header.get("settings", {}).get("storage"))


def _score_there(folder: Path, record: TrialRecord, storage: str | None) -> float | None:
    """The score of the model that a trial has kept, in its folder or in the storage; None where there is none."""
    here = _exported_score(_weights_of(folder, record))
    if here is None or here != record.score:
        return here if storage is None else stored_trial(storage, record.number).best_score()
    return here


def _brought(folder: Path, record: TrialRecord, storage: str | None) -> list[str]:
    """What is wrong with a trial's weights, which lie in its folder afterwards where nothing is."""
    weights = _weights_of(folder, record)
    if storage is not None and (_exported_score(weights) != record.score or _damage(weights)):
        try:
            stored_trial(storage, record.number).bring_best(weights.parent)
        except DamagedError as error:
            return error.problems
    return _damage(weights)


def _damage(weights: Path) -> list[str]:
    """What is wrong with a trial's weights; without a manifest only their score can tell, which is looked at in any case."""
    return verify(weights) if (weights / MANIFEST).exists() else []


def _exported_score(weights: Path) -> float | None:
    """The score that stands with the weights of a trial; None where there are none or they are damaged."""
    try:
        return float(read_json(weights / "metrics.json")["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def import_libraries() -> None:
    """Imports what an export takes seconds to import: a signal that falls into that is swallowed by code that is imported."""
    import trainables.evaluation
    import trainables.model.files  # noqa: F401


def _predict_and_check(aside: Path, record: TrialRecord) -> None:
    """Loads what was exported, scores it on dev, and writes predictions."""
    from trainables.data.tokens import tokenise
    from trainables.evaluation import evaluate
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
    if record.score is None or not abs(score - record.score) <= TOLERANCES[config.precision]:
        raise ExportError([f"trial {record.number}: the exported model scores {score}, but the ledger says {record.score}"])
    predictions: dict[Split, dict[str, np.ndarray]] = {"dev": evaluations["dev"].predictions}
    if evaluations["test"].predictions:
        predictions["test"] = evaluations["test"].predictions
    write_predictions(aside / "predictions", store, config.tasks, predictions)


def _weights_of(folder: Path, record: TrialRecord) -> Path:
    return search_folder.trial_folder(folder, record.number) / search_folder.BEST


def _metrics(record: TrialRecord) -> dict[str, Any]:
    return {
        "trial": record.number,
        "state": record.state,
        "best_report": record.best_report,
        "train_seconds": record.train_seconds,
        "budget_used": record.budget_used,
        "reports": list(record.reports),
    }


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
    "With --ensemble: put several exported models together, and write what they predict."
)
def main(  # noqa: PLR0917 - a command line
    folders: Annotated[list[Path], Argument(metavar="DIR...", help="folder of a search; with --ensemble of exported models")],
    trial: Annotated[int | None, Option(help="export this trial instead of the best")] = None,
    out: Annotated[
        Path | None, Option(help="folder to write [DIR/best; --trial: DIR/export-N; --ensemble: runs/DATE-ensemble]")
    ] = None,
    ensemble: Annotated[bool, Option("--ensemble", help="each DIR is an exported model, or has one in its best/")] = False,
    how: Annotated[str | None, Option(help="of an ensemble: average, or best_per_task [average]")] = None,
    data: Annotated[str | None, Option(help="an ensemble is scored on: sample, hub, a folder [its members' data]")] = None,
) -> None:
    """Exports, and says what was written."""
    try:
        _check_options(folders, trial=trial, ensemble=ensemble, how=how, data=data)
        said = _export_ensemble(folders, how or "average", data, out) if ensemble else _export_trial(folders[0], trial, out)
    except (ValueError, OSError) as error:
        errors_console().print(str(error))
        raise typer.Exit(2) from None
    typer.echo(visible_lines(said))


def _check_options(folders: list[Path], *, trial: int | None, ensemble: bool, how: str | None, data: str | None) -> None:
    """Refuses options that have no say in what was asked for."""
    problems = []
    if ensemble and trial is not None:
        problems.append("--trial is for one search; the folder of a trial may itself be a member: DIR/trials/0007")
    if not ensemble and len(folders) > 1:
        problems.append(f"one search is exported at a time, but got {len(folders)}; --ensemble puts several models together")
    if not ensemble:
        given = {"--how": how, "--data": data}
        problems += [f"{option} is for --ensemble" for option, value in given.items() if value is not None]
    if problems:
        raise ConfigError(problems)


def _export_trial(folder: Path, trial: int | None, out: Path | None) -> str:
    Ledger.read(folder)
    search_folder.check_links(folder)
    with search_folder.locked(folder):
        lines: list[str] = []
        written, record = export_best(folder, trial=trial, out=out, say=lines.append)
    told = "".join(f"{line}\n" for line in lines)
    return f"{told}{written}: trial {record.number}, score {record.score:.4f}; loaded again, it scores the same"


def _export_ensemble(folders: list[Path], how: str, data: str | None, out: Path | None) -> str:
    written, ensemble = export_ensemble(folders, how=how, data=data, out=out)
    scored = ensemble.together[how]
    return f"{table(ensemble)}\n{LUCKY}\n{written}: {how} of {len(folders)} models, score {scored.metrics['score']:.4f}"


if __name__ == "__main__":
    keep_files_private()
    app()
