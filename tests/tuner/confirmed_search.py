"""A search whose best was confirmed, of trials that never trained: tiny models as they begin; their kept rows are made up."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from search_spaces.domains import Float
from search_spaces.space import Dimension, Space
from trainables.config import TrialConfig
from trainables.data.tokens import tokenise
from trainables.encoder_files import find_encoder
from trainables.evaluation import evaluate
from trainables.model.files import load_model, save_model
from trainables.model.multitask import MultitaskModel
from trainables.outcomes import Outcome
from tuner.confirm import config_of as config_again
from tuner.confirm import missing
from tuner.confirmation import Confirmation, confirmation_of
from tuner.ledger import Ledger
from tuner.records import TrialRecord
from tuner.search_folder import trial_folder
from tuner.settings import SearchSettings

SPACE = Space("one", (Dimension("optimizer.lr", Float(1e-4, 1e-3, log=True)),))
BASE = TrialConfig().override({"encoder.name": "tiny", "budget_examples": 300, "num_reports": 3, "data.confirm_share": 0.4})
SETTINGS = SearchSettings(trials=2, searcher="random", early_stopping="none", confirm=2, confirm_seeds=2)
_LABELS = np.linspace(0, 5, 40, dtype=np.float32)


def confirmed_search(folder: Path, quality: Mapping[int | None, float], *, num_trainings: int | None = None) -> Path:
    """Two trials, and both and the reference trained again with two seeds each.

    Args:
        folder: of the search, new.
        quality: of each config on the kept rows, 0 to 1; None: of the reference.
        num_trainings: how many of the trainings have ended; None: all.
    """
    folder.mkdir(parents=True)
    header = {"id": f"{folder.name}-id", "name": folder.name, "settings": SETTINGS.to_tree(), "base": BASE.to_tree()}
    ledger = Ledger.create(folder, {**header, "ended": "complete"})
    for number in range(SETTINGS.trials):
        _end(folder, ledger, ledger.ask(SPACE, BASE, optuna.samplers.RandomSampler(seed=number), {"seed": 7}), None)
    for confirms in missing(ledger.records(), SETTINGS, BASE)[:num_trainings]:
        config = config_again(confirms, ledger.records(), BASE, SETTINGS.seed)
        _end(folder, ledger, ledger.begin_confirming(confirms, config, {"seed": 7}), quality[confirms.trial])
    return folder


def found_of(folder: Path) -> tuple[Confirmation, list[TrialRecord]]:
    ledger = Ledger.open(folder)
    records = ledger.records()
    return confirmation_of(ledger.header, records), records


def _end(folder: Path, ledger: Ledger, record: TrialRecord, quality: float | None) -> None:
    """Gives a trial its weights, and a last report with what they score."""
    config, best = TrialConfig.parse(record.config), trial_folder(folder, record.number) / "best"
    generator = torch.Generator().manual_seed(record.number)
    save_model(MultitaskModel(config, find_encoder("tiny"), generator), find_encoder("tiny"), best)
    report: dict[str, Any] = {"report": 3, "budget": 300, "train_seconds": 2.0}
    report |= evaluate(load_model(best)[1], tokenise(config.data, config.encoder)).metrics
    if quality is not None:
        report["confirm"] = _on_kept_rows(quality, record.number)
    (best / "metrics.json").write_text(json.dumps(report))
    (best.parent / "log.txt").write_text(f"log of {record.number}\n")
    ledger.report(record.number, report)
    ledger.tell(record.number, "complete")


def _on_kept_rows(quality: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    right = Outcome(correct=rng.random(40) < quality)
    scores = Outcome(predicted=(_LABELS + rng.normal(0, 2 * (1 - quality), 40)).astype(np.float32), labels=_LABELS)
    outcomes = {"sst": right.to_tree(), "qqp": right.to_tree(), "sts": scores.to_tree()}
    metrics = {"score": quality, "sst_accuracy": quality, "qqp_accuracy": quality, "sts_pearson": quality}
    return {**metrics, "outcomes": outcomes}
