import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables import inputs
from trainables.config import TrialConfig
from trainables.encoder_files import find_encoder
from trainables.inputs import absolute_encoder, absolute_settings, absolute_source, check_unchanged, differences, open_inputs
from trainables.model.files import save_model
from trainables.model.multitask import MultitaskModel
from trainables.parts import ConfigError


def test_they_need_no_torch() -> None:
    code = "import sys, trainables.inputs, trainables.checkpoints, trainables.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_more_reports_than_examples_are_refused(small_config: TrialConfig) -> None:
    with pytest.raises(ConfigError, match="num_reports <= budget_examples must hold, but got 9 and 8"):
        open_inputs(small_config.override({"num_reports": 9, "budget_examples": 8}))


def test_sequences_longer_than_the_encoders_positions_are_refused(
    small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = find_encoder("tiny")
    short = dataclasses.replace(files, config={**files.config, "max_position_embeddings": 64})
    monkeypatch.setattr(inputs, "find_encoder", lambda name: short)
    with pytest.raises(ConfigError, match=r"data\.max_tokens <= 64 must hold for encoder tiny, but got 128"):
        open_inputs(small_config)


def test_more_frozen_layers_than_the_encoder_has_are_refused(small_config: TrialConfig) -> None:
    def phases(*frozen_layers: int) -> TrialConfig:
        return small_config.override({"phases": [{"share": 0.5, "frozen_layers": number} for number in frozen_layers]})

    assert open_inputs(phases(0, 2)).files.num_layers == 2
    with pytest.raises(ConfigError, match=r"^phases\.1\.frozen_layers <= 2 must hold for encoder tiny, but got 3$"):
        open_inputs(phases(2, 3))


def test_a_phase_in_which_a_task_has_nothing_to_train_is_refused(small_config: TrialConfig) -> None:
    def config(frozen_layers: int, **options: Any) -> TrialConfig:
        apart = {"encoder.pair_encoding": "bi", "heads.sts": {"kind": "cosine", **options.pop("head", {})}}
        return small_config.override({**apart, "phases": [{"frozen_layers": frozen_layers, **options}]})

    words = (
        r"^phases\.0\.frozen_layers=2 are all layers of encoder tiny: "
        r"the head of sts \(kind=cosine\) has no weights that could train$"
    )
    for phase in ({}, {"tasks": ["sts"]}, {"tasks": ["sts", "sst"]}):
        with pytest.raises(ConfigError, match=words):
            open_inputs(config(2, **phase))
    for accepted in (config(1), config(2, tasks=["sst", "qqp"]), config(2, head={"pooling": "attention"})):
        assert open_inputs(accepted).files.num_layers == 2


def test_data_and_encoder_must_be_what_a_search_began_with(small_config: TrialConfig) -> None:
    opened = open_inputs(small_config)
    store, files = opened.store, opened.files
    check_unchanged(opened, data_hashes=None, encoder_sha256=None)
    check_unchanged(opened, data_hashes=dict(store.hashes), encoder_sha256=files.weights_sha256)
    of_another_trial = {**store.hashes, "more.csv": "0ther"}
    check_unchanged(opened, data_hashes=of_another_trial, encoder_sha256=None)
    now = store.hashes["sts-dev.csv"]
    for before, words in (
        ({**store.hashes, "sts-dev.csv": "0ld"}, f"sts-dev.csv: the data have changed: sha256 was 0ld, is {now}"),
        ({name: sha for name, sha in store.hashes.items() if name != "sts-dev.csv"}, f"sha256 was none, is {now}"),
    ):
        with pytest.raises(ConfigError, match=re.escape(words)):
            check_unchanged(opened, data_hashes=before, encoder_sha256=None)
    words = f"{files.weights}: the weights have changed: sha256 was 0ld, is {files.weights_sha256}"
    with pytest.raises(ConfigError, match=re.escape(words)):
        check_unchanged(opened, data_hashes=None, encoder_sha256="0ld")


def test_a_link_to_another_teacher_is_a_change(small_config: TrialConfig, tmp_path: Path) -> None:
    for seed in (0, 1):
        files = find_encoder("tiny")
        model = MultitaskModel(small_config, files, torch.Generator().manual_seed(seed))
        save_model(model, files, tmp_path / f"m{seed}")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "m0")
    config = small_config.override({"objective.distill.teachers.sst": str(link)})
    before = open_inputs(config)
    check_unchanged(before, data_hashes=before.hashes, encoder_sha256=None)
    check_unchanged(before, data_hashes=before.store.hashes, encoder_sha256=None)  # a row of the search's own study
    link.unlink()
    link.symlink_to(tmp_path / "m1")
    with pytest.raises(ConfigError, match=f"teacher {link}: the weights have changed: sha256 was "):
        check_unchanged(open_inputs(config), data_hashes=before.hashes, encoder_sha256=None)


def test_settings_become_absolute_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "objective.smart.weights.*": 2.0,
        "objective.smart.weights.sst": 0.5,
        "objective.distill": {"gamma": 2.0},
        "objective.distill.teachers.*": "teacher",
        "objective.distill.teachers.sts": None,
        "encoder": {"pooling": "mean"},
        "data": {"source": "rows", "batch_size": 16},
        "data.more_rows.sst": ["a.csv", "/b.csv"],
        "balancing": None,
        "optimizer.lrr": 3,
    }
    assert absolute_settings(settings, TrialConfig()) == {
        **settings,
        "objective.distill.teachers.*": str(tmp_path / "teacher"),
        "data": {"source": str(tmp_path / "rows"), "batch_size": 16},
        "data.more_rows.sst": [str(tmp_path / "rows" / "a.csv"), "/b.csv"],
    }
    assert absolute_settings({"objective": None, "data": {"batch_size": 1}}, TrialConfig()) == {
        "objective": None,
        "data": {"batch_size": 1},
    }


def test_folders_become_absolute_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert").mkdir()
    assert [absolute_encoder(name) for name in ("bert", "tiny", "org/bert")] == [str(tmp_path / "bert"), "tiny", "org/bert"]
    assert [absolute_source(name) for name in ("rows", "hub", "sample")] == [str(tmp_path / "rows"), "hub", "sample"]


def test_differences_name_each_leaf() -> None:
    one = {"a": {"b": 1, "c": [1, 2]}, "d": 4, "e": [1]}
    assert differences(one, {"a": {"b": 2, "c": [1, 3]}, "d": 4, "e": [1, 2]}) == ["a.b: 1, 2", "a.c.1: 2, 3", "e: [1], [1, 2]"]
    assert differences(one, {**one, "f": 1}) == ["f: None, 1"]
    assert differences(one, one) == []
