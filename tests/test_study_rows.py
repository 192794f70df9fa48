"""Every row of every study, stopped and continued in the middle of each of its phases, is the run that was never stopped.

Some of them by default (`QUICK`), all with --runslow; on the sample, or on a small folder for tasks that it does not have.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from search_spaces.registry import STUDIES
from search_spaces.studies.best_fit import CFIMDB
from search_spaces.study import Study, StudyRow
from trainables.config import TrialConfig
from trainables.data.reading import SPLIT_FILES
from trainables.data.sample import make_sample
from trainables.outside.rows_file import write_rows
from trainables.tasks import CS224N, SST
from trainables.trainer import Trainer

CLOCK = {"train_seconds", "eval_seconds", "examples_per_second", "tokens_per_second"}
FEW_STEPS: dict[str, Any] = {"data.max_tokens": 16, "data.batch_size": 2, "num_reports": 6, "early_dev_share": 0.01}
QUICK = {
    "studentbert.model_merging siar_rr",
    "studentbert.model_merging teacher_sst",
    "studentbert.model_merging siar_rr_mm",
    "best_fit.summary contrastive",
    "best_fit.summary sc_cs_smart_pcgrad",
    "best_fit.schedules annealed",
    "three_headed.experiments experiment_12",
    "three_headed.experiments experiment_14",
    "best_fit.summary sc_labelled",
    "best_fit.single_task cfimdb_last_layer",
}
"""Rows that between them have every kind of phase, schedule, term and source; the others only with --runslow."""
ROWS = [
    pytest.param(study, row, id=name, marks=() if name in QUICK else pytest.mark.slow)
    for study in STUDIES.values()
    for row in study.rows
    for name in [f"{study.name} {row.name}"]
]


def config_of(study: Study, row: StudyRow, teacher: Path, folder: Path) -> TrialConfig:
    """The row's config, on the sample or the folder and the tiny encoder, a few steps long in each phase."""
    source = "sample" if study.tasks == CS224N else str(folder)
    base = {"tasks": study.tasks, "data": {"source": source}, "encoder": {"name": "tiny"}}
    config = study.config(row, TrialConfig.parse(base)).override({**FEW_STEPS, "budget_examples": 36})
    taught = {f"objective.distill.teachers.{task}": str(teacher) for task in row.teachers}
    more = {f"data.more_rows.{task}": [str(folder / file) for file in files] for task, files in config.data.more_rows.items()}
    some = {f"phases.{n}.frozen_layers": 1 for n, phase in enumerate(config.phases) if phase.frozen_layers}  # of two
    even = {f"phases.{number}.share": 1 / len(config.phases) for number in range(len(config.phases))}
    return config.override({**taught, **more, **even, **some})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    Trainer(TrialConfig.parse({"encoder": {"name": "tiny"}, "data": {"max_tokens": 16}})).save_model(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files of the sample's reviews: those of SST and CFIMDB (better than neutral, or not), and further rows of SST."""
    folder = tmp_path_factory.mktemp("folder")
    further = {file for study in STUDIES.values() for row in study.rows for file in further_files(row)}
    for split, rows in make_sample(seed=1, rows_per_task=(60, 30, 1))["sst"].items():
        if rows.labels is None:
            continue
        labels, end = rows.labels.astype(int), f"-{SPLIT_FILES[split]}.csv"
        for name in {SST.file_stem + end, *(further if split == "train" else ())}:
            write_rows(folder / name, SST, rows.sentences[0], labels.tolist())
        write_rows(folder / f"{CFIMDB.file_stem}{end}", CFIMDB, rows.sentences[0], (labels > 2).tolist())
    return folder


def further_files(row: StudyRow) -> list[str]:
    return [file for path, files in row.settings.items() if path.startswith("data.more_rows.") for file in files]


def curve(trainer: Trainer) -> list[dict[str, float]]:
    return [{key: value for key, value in report.items() if key not in CLOCK} for report in trainer.history]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """All that is learnt: the model's weights, and those of the losses."""
    return dict(trainer.trained.state_dict())


@pytest.mark.parametrize(("study", "row"), ROWS)
def test_a_row_that_is_stopped_goes_on_as_if_it_had_not_been(
    study: Study, row: StudyRow, teacher: Path, folder: Path, tmp_path: Path
) -> None:
    config = config_of(study, row, teacher, folder)
    whole, stopped = Trainer(config), Trainer(config)
    phases = []
    for report in range(config.num_reports):
        whole.advance()
        stopped.advance()
        stopped.save(tmp_path / f"{report}")
        phases.append(stopped.position.phase)
        stopped = Trainer(config)
        stopped.load(tmp_path / f"{report}")
    assert curve(stopped) == curve(whole)
    ends = weights(stopped)
    assert ends.keys() == weights(whole).keys()
    assert [name for name, weight in weights(whole).items() if not torch.equal(ends[name], weight)] == []
    assert all(phases.count(number) >= 2 for number in range(len(config.phases))), "each phase is stopped in its middle"


def test_every_row_is_there() -> None:
    ids = [param.id for param in ROWS]
    assert ids == [f"{study.name} {row.name}" for study in STUDIES.values() for row in study.rows]
    assert set(ids) >= QUICK
