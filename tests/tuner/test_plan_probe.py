"""Processes that time trials: real ones on the tiny encoder, and ones that go wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.planned import timed
from trainables.config import TrialConfig
from trainables.parts import ConfigError
from tuner import plan_probe
from tuner.plan_probe import _gpus_of, probe

TINY = TrialConfig().override({"encoder.name": "tiny", "budget_examples": 90})


def test_each_config_is_timed_by_one_of_the_processes() -> None:
    configs = {name: TINY.override({"data.batch_size": size}) for name, size in (("a", 4), ("b", 8), ("c", 16))}
    probed = probe(configs, 2)
    assert list(probed.timed) == ["a", "b", "c"] and probed.failed == {} and probed.num_processes == 2


def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Another process in the place of the one that times."""
    file, real = tmp_path / "played.py", subprocess.Popen
    file.write_text(code)
    monkeypatch.setattr(plan_probe.subprocess, "Popen", lambda _command, **options: real([sys.executable, str(file)], **options))


def test_where_none_can_be_timed_it_is_said_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--plan: no trial could be timed: ConfigError: .*no/such"):
        probe({"a": TINY.override({"encoder.name": "/no/such"})}, 1)
    play(monkeypatch, tmp_path, "raise MemoryError('no more')")
    with pytest.raises(ConfigError, match=r"^--plan: no trial could be timed: MemoryError: no more$"):
        probe({"a": TINY}, 1)


def test_a_process_that_hangs_is_ended_and_what_it_had_written_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = json.dumps({"name": "a", "timing": vars(timed())})
    play(monkeypatch, tmp_path, f"import time\nprint({line!r}, flush=True)\nprint('{{', end='', flush=True)\ntime.sleep(600)")
    monkeypatch.setattr(plan_probe, "LAST_SECONDS", 3 * plan_probe.PROBE_SECONDS)
    probed = probe({"a": TINY, "b": TINY}, 1, seconds=1.0)
    assert list(probed.timed) == ["a"] and probed.failed == {"b": "no time was left"}


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("sys.exit('no such device')", "no such device"),
        ("sys.exit(3)", "its process ended with exit code 3"),
    ],
)
def test_who_got_no_answer_is_told_with_the_reason(end: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = json.dumps({"name": "a", "timing": vars(timed())})
    play(monkeypatch, tmp_path, f"import os, sys\nsys.stdin.read()\nprint({line!r}, flush=True)\n{end}")
    configs = dict.fromkeys("abc", TINY)
    probed = probe(configs, 1)
    assert list(probed.timed) == ["a"] and probed.failed == {"b": why, "c": f"not reached: {why}"}
    with pytest.raises(ConfigError, match=f"^--plan: no trial could be timed: {why}$"):
        probe({"x": TINY}, 1)


def test_who_was_not_reached_in_time_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = json.dumps({"name": "c", "timing": vars(timed())})
    play(monkeypatch, tmp_path, f"print({line!r})")
    probed = probe(dict.fromkeys("abc", TINY), 1)
    assert list(probed.timed) == ["c"] and probed.failed == dict.fromkeys("ab", "no time was left")
    with pytest.raises(ConfigError, match=r"timed: not one step ended in 34 s$"):
        probe({"x": TINY}, 1)


@pytest.mark.parametrize(
    ("visible", "number", "share", "given"),
    [
        (None, 3, 0.0, {}),
        (None, 0, 1.0, {"CUDA_VISIBLE_DEVICES": "0"}),
        (None, 3, 0.25, {"CUDA_VISIBLE_DEVICES": "0"}),
        (None, 4, 0.25, {"CUDA_VISIBLE_DEVICES": "1"}),
        ("5,7", 1, 1.0, {"CUDA_VISIBLE_DEVICES": "7"}),
        ("5,7,8,9", 1, 2.0, {"CUDA_VISIBLE_DEVICES": "8,9"}),
    ],
)
def test_each_process_sees_the_gpus_that_its_trial_would_have(
    visible: str | None, number: int, share: float, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _gpus_of(number, share) == given
