"""`python -m tuner.export DIR`: the best of a search as a folder that anybody can load, train again and hand in.

best/
config.yaml              trains it again: python -m trainables.train --config best/config.yaml
encoder/                 transformers.AutoModel.from_pretrained reads it
heads.safetensors        the three heads
metrics.json             scores, curve, cost
lineage.json             code, packages, machine, data hashes, seeds
predictions/             the six CS224N prediction files (test files where there are test rows)
README.md                the model card
"""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from typer import Argument

from trainables.data.rows import Split
from trainables.data.tokens import TokenStore
from trainables.parts import ConfigError
from trainables.tasks import Task, TaskSet
from tuner import search_folder
from tuner.ledger import Ledger
from tuner.model_card import model_card
from tuner.records import TrialRecord, rank

TOLERANCE = 1e-6
"""How far the score of the exported model may lie from the recorded one: nothing on the machine that trained it."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class ExportError(ConfigError):
    """The search has nothing that can be exported, or what was exported does not score what the ledger says."""


def export_best(folder: Path, *, ledger: Ledger | None = None) -> tuple[Path, TrialRecord]:
    """Exports the best trial of the search in `folder`, loads the export again and scores it.

    Args:
        folder: of the search.
        ledger: of the search, if it is open already.

    Returns:
        The folder `best/`, and the record of the trial in it.

    Raises:
        LedgerError: no search there.
        ExportError: no trial with weights; or the reloaded model's score is not the recorded one, and then `best/` is what it
            was before.
    """
    ledger = ledger or Ledger.open(folder)
    record = choose(folder, ledger.records())
    aside, best = folder / ".best.new", folder / search_folder.BEST
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(_weights_of(folder, record), aside)
    for name in ("manifest.json", "metrics.json"):
        (aside / name).unlink(missing_ok=True)
    _predict_and_check(aside, record)
    header = ledger.header
    search_folder.write_json(aside / "metrics.json", _metrics(record))
    search_folder.write_json(aside / "lineage.json", _lineage(header, record))
    (aside / "README.md").write_text(model_card(header, record), encoding="utf-8")
    _put_in_place(aside, best)
    return best, record


def choose(folder: Path, records: list[TrialRecord]) -> TrialRecord:
    """The best trial that still has the weights of its best report: one with its full budget if there is any.

    A trial that was cut off may have written newer weights than the ledger has heard of; those are passed over.

    Raises:
        ExportError: there is none.
    """
    for record in rank(records):
        if _exported_score(_weights_of(folder, record)) == record.score:
            return record
    raise ExportError([f"{folder}: nothing to export, for no trial has a report and its weights"])


def _exported_score(weights: Path) -> float | None:
    """The score that stands with the weights of a trial; None where there are none or they are damaged."""
    try:
        return float(json.loads((weights / "metrics.json").read_text(encoding="utf-8"))["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_predictions(folder: Path, store: TokenStore, tasks: TaskSet, predictions: dict[Split, dict[str, np.ndarray]]) -> None:
    """Writes CS224N's prediction files: `sst-dev-output.csv`, `para-test-output.csv`, and so on.

    A header line (`id`, tab, `Predicted_Sentiment`), then `{id} , {prediction} ` a row, in the order of the source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, by_task in predictions.items():
        for name, values in by_task.items():
            task = tasks.by_name[name]
            text = prediction_file(task, store.table(name, split).ids, values)
            (folder / f"{task.prediction_name}-{split}-output.csv").write_text(text, encoding="utf-8")


def prediction_file(task: Task, ids: list[str], values: np.ndarray) -> str:
    """The text of one prediction file; classes as whole numbers, paraphrases as 0.0 and 1.0, similarities as they are."""
    numbers = values.tolist() if task.target == "classes" else [float(value) for value in values]
    rows = (f"{row_id} , {number} \n" for row_id, number in zip(ids, numbers, strict=True))
    return f"id \t {task.prediction_header} \n" + "".join(rows)


def _predict_and_check(aside: Path, record: TrialRecord) -> None:
    """Loads what was exported, scores it on dev, and writes predictions."""
    import torch

    from trainables.data.tokens import tokenise
    from trainables.evaluation import evaluate
    from trainables.model.files import load_model

    config, model = load_model(aside)
    store = tokenise(config.data, config.encoder, config.tasks)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.num_threads)
    try:
        evaluations = {split: evaluate(model, store, split) for split in ("dev", "test")}
        dev_share = float((record.best_report or {}).get("dev_share", 1.0))
        score = (evaluations["dev"] if dev_share == 1 else evaluate(model, store, share=dev_share)).metrics["score"]
    finally:
        torch.set_num_threads(threads)
    if record.score is None or not abs(score - record.score) <= TOLERANCE:
        shutil.rmtree(aside)
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


def _put_in_place(aside: Path, best: Path) -> None:
    """Puts the new export where the old one was; at each moment one of them is whole."""
    old = best.with_name(".best.old")
    shutil.rmtree(old, ignore_errors=True)
    if best.exists():
        best.rename(old)
    aside.rename(best)
    shutil.rmtree(old, ignore_errors=True)


@app.command(help="Export the best trial of a search to DIR/best, and check that it scores what was recorded.")
def main(folder: Annotated[Path, Argument(metavar="DIR", help="folder of a search")]) -> None:
    """Exports, and says what was written."""
    try:
        Ledger.open(folder)
        with search_folder.locked(folder):
            best, record = export_best(folder)
    except (ValueError, OSError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(str(error))
        raise typer.Exit(2) from None
    typer.echo(f"{best}: trial {record.number}, score {record.score:.4f}; loaded again, it scores the same")


if __name__ == "__main__":
    app()
