"""Every row of every study, stopped and continued in the middle of each of its phases, is the run that was never stopped."""

from pathlib import Path
from typing import Any

import pytest

from search_spaces.registry import STUDIES
from search_spaces.study import Study, StudyRow
from trainables.config import TrialConfig
from trainables.tasks import CS224N
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
}
"""Rows that between them have every kind of phase, schedule and term; the others only with --runslow."""
ROWS = [
    pytest.param(study, row, id=name, marks=() if name in QUICK else pytest.mark.slow)
    for study in STUDIES.values()
    for row in study.rows
    if study.tasks == CS224N and not any(path.startswith("data.more_rows") for path in row.settings)
    for name in [f"{study.name} {row.name}"]
]


def config_of(study: Study, row: StudyRow, teacher: Path) -> TrialConfig:
    """The row's config, on the sample and the tiny encoder, a few steps long in each phase."""
    base = TrialConfig.parse({"tasks": study.tasks, "encoder": {"name": "tiny"}, "budget_examples": 36})
    config = study.config(row, base).override({**FEW_STEPS, "budget_examples": 36})
    taught = {f"objective.distill.teachers.{task}": str(teacher) for task in row.teachers}
    some = {f"phases.{n}.frozen_layers": 1 for n, phase in enumerate(config.phases) if phase.frozen_layers}  # of two
    even = {f"phases.{number}.share": 1 / len(config.phases) for number in range(len(config.phases))}
    return config.override({**taught, **even, **some})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    Trainer(TrialConfig.parse({"encoder": {"name": "tiny"}, "data": {"max_tokens": 16}})).save_model(folder)
    return folder


def curve(trainer: Trainer) -> list[dict[str, float]]:
    return [{key: value for key, value in report.items() if key not in CLOCK} for report in trainer.history]


@pytest.mark.parametrize(("study", "row"), ROWS)
def test_a_row_that_is_stopped_goes_on_as_if_it_had_not_been(study: Study, row: StudyRow, teacher: Path, tmp_path: Path) -> None:
    config = config_of(study, row, teacher)
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
    assert all(phases.count(number) >= 2 for number in range(len(config.phases))), "each phase is stopped in its middle"


def test_the_quick_rows_are_there() -> None:
    assert {param.id for param in ROWS} >= QUICK
