"""A small search without Ray: a space of three dimensions, three reports a trial, ledgers in memory or on disk."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
import torch

import tuner.ledger
from search_spaces.domains import Categorical, Float, Int
from search_spaces.space import Dimension, Space
from tests.tuner.planning import write_task
from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.model.files import save_model
from trainables.model.multitask import MultitaskModel
from trainables.tasks import CS224N
from tuner.ledger import Ledger
from tuner.ledger_places import LEDGER_FILE
from tuner.settings import SearchSettings
from tuner.study_tables import transaction

_METRICS = {"sst_accuracy": 0.4, "qqp_accuracy": 0.7, "sts_pearson": 0.5}


class Killed(BaseException):
    """Stands for the end of the process: no `except Exception` sees it."""


@dataclass(frozen=True)
class Toy:
    """What a search is made of.

    Attributes:
        space: a conditional dimension among three.
        base: three reports of 100 examples each.
        template: folder with a new ledger, to be copied: creating its tables takes a while.
    """

    space: Space
    base: TrialConfig
    template: Path

    def settings(self, **changes: Any) -> SearchSettings:
        """Rungs at the reports 1 and 2."""
        own = {"trials": 5, "searcher": "random", "reduction_factor": 2, "audit_share": 0.0}
        return SearchSettings.parse({**own, **changes})

    def report(self, index: int, score: float) -> dict[str, Any]:
        costs = {"budget": 100 * index, "train_seconds": 2.0, "examples_per_second": 50.0}
        return {"report": index, "score": score, **_METRICS, **costs}

    def new_ledger(self, folder: Path) -> Ledger:
        """On disk."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.template / LEDGER_FILE, folder / LEDGER_FILE)
        return Ledger.open(folder)

    def new_study(self) -> optuna.Study:
        """Of a new ledger on disk, to be opened as `Ledger(study)` as often as a driver is started."""
        ledger = self.new_ledger(Path(tempfile.mkdtemp(dir=self.template)))
        return ledger._study

    @contextlib.contextmanager
    def killed_before_write(self, write: int) -> Iterator[list[int]]:
        """Yields the numbers of the transactions; number `write` (from 0) is not committed: `Killed` is raised instead.

        `Killed` itself goes no further than this.
        """
        done: list[int] = []

        @contextlib.contextmanager
        def fused(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
            with transaction(engine) as connection:
                yield connection
                if len(done) >= write:
                    raise Killed
            done.append(len(done))

        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(tuner.ledger, "transaction", fused)
            yield done


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    template = tmp_path_factory.mktemp("template")
    Ledger.create(template, {})
    space = Space(
        "toy",
        (
            Dimension("optimizer.lr", Float(1e-5, 1e-3, log=True)),
            Dimension("heads.*.kind", Categorical(("linear", "mlp"))),
            Dimension("heads.*.hidden_size", Int(16, 256, log=True), when={"heads.*.kind": ("mlp",)}),
        ),
    )
    base = TrialConfig.parse({"encoder": {"name": "tiny"}, "num_reports": 3, "budget_examples": 300})
    return Toy(space, base, template)


@pytest.fixture
def ledger(toy: Toy, tmp_path: Path) -> Ledger:
    return toy.new_ledger(tmp_path / "search")


@pytest.fixture
def ask(toy: Toy) -> Callable[..., int]:
    """`ask(ledger)`: one more trial of the toy space; gives its number."""

    def one_more(ledger: Ledger, seed: int = 0) -> int:
        return ledger.ask(toy.space, toy.base, optuna.samplers.RandomSampler(seed=seed), {"seed": 7}).number

    return one_more


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a few rows of each task."""
    folder = tmp_path / "data"
    folder.mkdir()
    for task in CS224N.tasks:
        write_task(folder, task)
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """An exported model as it begins."""
    config, files = TrialConfig().override({"encoder.name": "tiny"}), find_encoder("tiny")
    save_model(MultitaskModel(config, files, torch.Generator().manual_seed(0)), files, tmp_path / "teacher")
    return tmp_path / "teacher"
