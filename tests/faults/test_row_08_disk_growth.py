"""Row 8: over 40 trials the disk holds no more than the formula says, at any report; real sessions and sweeping, without Ray."""

from pathlib import Path

import pytest

from search_spaces.studies.basics import SPACE
from tests.end_to_end.conftest import Bench
from tests.faults.scorecard import Row
from trainables.config import TrialConfig
from trainables.session import NUM_KEPT, TrialSession
from trainables.sizes import most_checkpoint_bytes, most_model_bytes
from tuner.housekeeping import Sweeper
from tuner.ledger import Ledger
from tuner.referee import Order, Referee
from tuner.room import KEPT_CHECKPOINTS, MIB, most_bytes, used_bytes
from tuner.settings import SearchSettings

NUM_TRIALS, SLOTS, KEEP_MODELS = 40, 2, 3


def test_the_formula_counts_the_checkpoints_that_are_kept() -> None:
    assert KEPT_CHECKPOINTS == NUM_KEPT


@pytest.mark.faults
@pytest.mark.row(8, "40 trials: the disk holds no more than was said")
def test_forty_trials_take_no_more_than_was_said(bench: Bench, monkeypatch: pytest.MonkeyPatch, shared_row: Row) -> None:
    monkeypatch.setenv("TRITUNE_CACHE", bench.environment["TRITUNE_CACHE"])
    changes = {"encoder.name": "tiny", "data.source": str(bench.data), "data.max_tokens": 48}
    base = TrialConfig().override({**changes, "budget_examples": 90, "num_reports": 4})
    folder = bench.folder / "search"
    folder.mkdir()
    ledger = Ledger.create(folder, {})
    settings = SearchSettings.parse({"trials": NUM_TRIALS, "searcher": "random", "keep_models": KEEP_MODELS})
    referee = Referee(ledger, settings, SPACE, base, folder, attributes={}, listener=Sweeper(folder, [], KEEP_MODELS))
    live: dict[int, TrialSession] = {}
    most, largest = 0, {"model": 0, "checkpoint": 0}
    while referee.num_to_start or live:
        while len(live) < SLOTS and isinstance(order := referee.next_order(), Order):
            session = live[order.number] = TrialSession(TrialConfig.parse(order.config), Path(order.folder))
            shape = session.trainer.config, session.trainer.files
            largest["model"] = max(largest["model"], most_model_bytes(*shape))
            largest["checkpoint"] = max(largest["checkpoint"], most_checkpoint_bytes(*shape))
        for number, session in list(live.items()):
            if referee.hear(number, session.next_report()) == "stop":
                del live[number]
            most = max(most, used_bytes(folder))
    bound = most_bytes(
        model_bytes=largest["model"],
        checkpoint_bytes=largest["checkpoint"],
        num_trials=NUM_TRIALS,
        slots=SLOTS,
        keep_models=KEEP_MODELS,
    )
    assert most <= bound
    weights = [path for path in (folder / "trials").glob("*/*") if path.is_dir()]
    assert len(weights) == KEEP_MODELS and {path.name for path in weights} == {"best"}
    shared_row.notes.append(f"it held {most / MIB:.1f} MiB at most, {bound / MIB:.1f} MiB were said")
