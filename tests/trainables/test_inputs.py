import dataclasses
import subprocess
import sys

import pytest

from trainables import inputs
from trainables.config import ConfigError, TrialConfig
from trainables.encoder_files import find_encoder
from trainables.inputs import differences, open_inputs


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


def test_differences_name_each_leaf() -> None:
    one = {"a": {"b": 1, "c": [1, 2]}, "d": 4, "e": [1]}
    assert differences(one, {"a": {"b": 2, "c": [1, 3]}, "d": 4, "e": [1, 2]}) == ["a.b: 1, 2", "a.c.1: 2, 3", "e: [1], [1, 2]"]
    assert differences(one, {**one, "f": 1}) == ["f: None, 1"]
    assert differences(one, one) == []
