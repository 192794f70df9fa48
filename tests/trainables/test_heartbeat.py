import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables import heartbeat
from trainables.config import TrialConfig
from trainables.heartbeat import HEARTBEAT, STACK, process_start, process_state, read_beat
from trainables.trainer import Trainer


@pytest.fixture(autouse=True)
def _nobody_is_watched_afterwards() -> Iterator[None]:
    yield
    heartbeat.end()


def test_where_nobody_watches_a_beat_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    heartbeat.beat()
    assert list(tmp_path.iterdir()) == []


def test_a_beat_names_its_process_and_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    heartbeat.begin(tmp_path / "a")
    size = (tmp_path / "a" / HEARTBEAT).stat().st_size
    for moment in (100.5, 101.0, 101.5, 1e9):
        now[0] = moment
        heartbeat.beat()
        written = read_beat(tmp_path / "a")
        assert written is not None
        assert written.moment == max(m for m in (100.0, 101.0, 1e9) if m <= moment)
        assert (written.pid, written.process_start) == (os.getpid(), process_start(os.getpid()))
        assert (tmp_path / "a" / HEARTBEAT).stat().st_size == size


def test_beats_go_to_the_trial_that_began_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    heartbeat.begin(tmp_path / "a")
    heartbeat.begin(tmp_path / "b")
    now[0] = 200.0
    heartbeat.beat()
    moments = [beat.moment for name in "ab" if (beat := read_beat(tmp_path / name))]
    assert moments == [100.0, 200.0]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', "\0" * 160])
def test_what_is_no_beat_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / HEARTBEAT).write_text(content)
    assert read_beat(tmp_path) is None
    assert read_beat(tmp_path / "nowhere") is None


def test_a_folder_that_cannot_be_written_to_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    heartbeat.begin(tmp_path / "file" / "0000")
    heartbeat.beat()


def test_an_ended_trial_keeps_no_beat_and_only_a_stack_that_says_something(tmp_path: Path) -> None:
    heartbeat.begin(tmp_path)
    heartbeat.remove_signs(tmp_path)
    assert list(tmp_path.iterdir()) == []
    heartbeat.begin(tmp_path)
    os.kill(os.getpid(), heartbeat.STACK_SIGNAL)
    heartbeat.remove_signs(tmp_path)
    heartbeat.remove_signs(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [STACK]
    assert "test_an_ended_trial_keeps_no_beat" in (tmp_path / STACK).read_text()


def test_a_process_is_told_from_another_of_its_number() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert process_start(child.pid) not in ("", process_start(os.getpid()))
        assert process_state(child.pid) in "RSD"
    assert (process_start(child.pid), process_state(child.pid)) == ("", "")


def test_each_step_and_each_batch_of_dev_is_a_sign_of_life(small_config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, moments = Trainer(small_config), []
    monkeypatch.setattr("trainables.trainer.beat", lambda: moments.append("step"))
    monkeypatch.setattr("trainables.data.batching.beat", lambda: moments.append("batch"))
    trainer.advance()
    assert moments.count("step") == trainer.position.step
    assert moments.count("batch") >= len(small_config.tasks.names)


def test_who_may_not_beat_leaves_the_beat_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, superseded = [100.0], []

    def check() -> None:
        if superseded:
            raise RuntimeError("another has it")

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    heartbeat.begin(tmp_path, check)
    superseded.append(True)
    now[0] = 100.5
    heartbeat.beat()  # too early for one that is written
    for now[0] in (102.0, 103.0):
        with pytest.raises(RuntimeError, match="another has it"):
            heartbeat.beat()
    with pytest.raises(RuntimeError, match="another has it"):
        heartbeat.begin(tmp_path, check)
    beat = read_beat(tmp_path)
    assert beat is not None and (beat.moment, beat.is_of_this_machine) == (100.0, True)
