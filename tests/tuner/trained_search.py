"""A search of one trial that was really trained, without Ray, and exported."""

from pathlib import Path
from typing import Any

import optuna

from search_spaces.domains import Float
from search_spaces.space import Dimension, Space
from tests.end_to_end.conftest import write_small_data
from trainables.config import TrialConfig
from trainables.inputs import open_inputs
from trainables.session import TrialSession
from tuner import search_folder
from tuner.export import export_best
from tuner.ledger import Ledger
from tuner.lineage import describe_code_and_machine

SPACE = Space("one", (Dimension("optimizer.lr", Float(1e-4, 1e-3, log=True)),))
SMALL = {"encoder.name": "tiny", "data.max_tokens": 32, "budget_examples": 96, "num_reports": 3, "data.batch_size": 8}


def small_data(folder: Path) -> Path:
    """Files of the three tasks, with test rows."""
    folder.mkdir(parents=True)
    write_small_data(folder)
    return folder


def train_search(folder: Path, source: Path | str, *, stop_after: int = 3, **changes: Any) -> Path:
    """Trains, exports to `best/`, and gives the search's folder.

    Where it stops before its last report the trial is as ASHA leaves it: stopped.
    """
    settings = {**SMALL, "data.source": str(source)} | {path.replace("__", "."): value for path, value in changes.items()}
    inputs = open_inputs(TrialConfig().override(settings))
    folder.mkdir(parents=True)
    header = {"name": folder.name, "data_hashes": inputs.hashes, "encoder_sha256": inputs.files.weights_sha256}
    ledger = Ledger.create(folder, header)
    asked = ledger.ask(SPACE, inputs.config, optuna.samplers.RandomSampler(seed=5), describe_code_and_machine() | {"seed": 7})
    session = TrialSession(TrialConfig.parse(asked.config), search_folder.trial_folder(folder, 0))
    for _ in range(min(stop_after, inputs.config.num_reports)):
        ledger.report(0, session.next_report())
    session.close()
    ledger.tell(0, "complete" if session.done else "stopped")
    export_best(folder, ledger=ledger)
    return folder
