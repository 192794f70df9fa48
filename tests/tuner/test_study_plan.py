from pathlib import Path

import pytest

from search_spaces.studies import best_fit
from tests.tuner.planning import TINY, begin, problems_of, write_task
from trainables.parts import ConfigError, Problems
from tuner.prepare import prepare, prepare_resume

STUDY = {"study": "studentbert.model_merging", "seeds": 3}


def test_a_study_is_a_grid_of_its_rows_each_in_full(data: Path) -> None:
    plan = prepare(STUDY, set_texts=[TINY, "num_reports=2"], data=str(data))
    settings = plan.settings
    assert (settings.trials, settings.searcher, settings.early_stopping, settings.space) == (15, "grid", "none", plan.space.name)
    assert settings.keep_models == 15, "students learn from the models of other rows"
    assert plan.base.data.batch_size == 8 and plan.base.encoder.name == "tiny"
    assert plan.base.budget_examples == 36
    assert set(plan.data_hashes) == set(prepare({}, set_texts=[TINY], data=str(data)).data_hashes)


def test_a_study_brings_its_own_tasks(data: Path) -> None:
    write_task(data, best_fit.CFIMDB)
    plan = prepare({"study": "best_fit.single_task"}, set_texts=[TINY, "data.max_tokens=64"], data=str(data))
    assert plan.base.tasks.names == ("sst", "cfimdb")
    assert {config.data.max_tokens for _, config in plan.space.configs(plan.base)} == {64}  # type: ignore[attr-defined]


def test_mistakes_in_a_study_come_all_at_once(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    found = problems_of(
        lambda: prepare({"study": "best_fit.pooling", "rows": ["median"]}, set_texts=["encoder.name=huge"], data=str(missing))
    )
    assert "--rows: 'median' is no row of best_fit.pooling; rows are cls, mean, max, attention" in found
    assert any("huge" in problem for problem in found) and any(str(missing) in problem for problem in found)


def test_a_row_that_cannot_be_trained_is_told_before_anything_starts(data: Path) -> None:
    """The rows of outside sentences need files that the user makes."""
    found = problems_of(lambda: prepare({"study": "best_fit.augmentation"}, set_texts=[TINY], data=str(data)))
    assert len(found) == 3
    assert all(problem.startswith("study best_fit.augmentation: row ") for problem in found)
    assert any("ids-sst-outside-nearest.csv" in problem for problem in found)


def test_a_study_takes_more_seeds_when_it_goes_on(data: Path, tmp_path: Path) -> None:
    folder = begin(tmp_path, prepare({"study": "best_fit.pooling"}, set_texts=[TINY], data=str(data)))
    again = prepare_resume(folder, {"seeds": 4}, None, Problems())
    assert again.settings.trials == 16 and again.space.num_seeds == 4  # type: ignore[attr-defined]
    assert again.space.by_hand == {"encoder.name": "tiny"}  # type: ignore[attr-defined]
    with pytest.raises(ConfigError) as caught:
        prepare_resume(folder, {"seeds": 1}, "leaderboard", Problems())
    assert caught.value.problems == [
        "--space: this search trains the rows of a study; leave it out with --resume",
        "--seeds: this study was set to 2 seeds and can only grow, but got 1",
    ]


def test_what_is_set_by_hand_in_a_study_means_the_same_in_every_folder(
    data: Path, tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    taught = {"encoder.name": "teacher/encoder", "objective.distill.teachers.sts": "teacher", "data.source": "data"}
    plan = prepare({"study": "best_fit.pooling"}, set_texts=[f"{path}={value}" for path, value in taught.items()])
    monkeypatch.chdir("/")
    for _, config in plan.space.configs(plan.base):  # type: ignore[attr-defined]
        assert config.encoder.name == str(teacher / "encoder")
        assert config.objective.distill.teachers["sts"] == str(teacher)
        assert config.data.source == str(data)
    assert f"teacher {teacher}" in plan.data_hashes
    prepare_resume(begin(tmp_path, plan), {}, None, Problems())


def test_rows_are_looked_at_with_their_heads(data: Path) -> None:
    """Row 7's cosine has no weights: with all layers frozen nothing of it could train; row 6 reads the same tokens."""
    texts = [TINY, "data.batch_size=8", "phases.0.frozen_layers=2"]
    [problem] = problems_of(
        lambda: prepare(
            {"study": "three_headed.experiments", "rows": ["experiment_6", "experiment_7"]}, set_texts=texts, data=str(data)
        )
    )
    assert problem.startswith("study three_headed.experiments: row experiment_7: ") and "no weights that could train" in problem
