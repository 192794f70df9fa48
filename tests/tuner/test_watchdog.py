"""The watchdog's judgement; tests/faults has real hung trials."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.trainable import ORDER_KEY
from tuner import watchdog
from tuner.examination import Finding, examine, kill
from tuner.watchdog import LEAST_LIMIT_SECONDS, LIMIT_FACTOR, Watchdog, limit_of


@given(st.floats(0, 1e6), st.none() | st.floats(5, 1e6))
def test_the_limit_is_what_was_asked_for_or_many_reports(longest: float, asked_for: float | None) -> None:
    limit = limit_of(asked_for, longest)
    assert limit == asked_for or (asked_for is None and limit >= LEAST_LIMIT_SECONDS and limit >= LIMIT_FACTOR * longest)
    assert asked_for is not None or limit in (LEAST_LIMIT_SECONDS, LIMIT_FACTOR * longest)


class Actor:
    def __init__(self, name: str) -> None:
        self._actor_id = name.encode()


class Trial:
    """What the watchdog reads of Tune's."""

    def __init__(self, number: int, folder: Any) -> None:
        self.trial_id, self.max_failures = f"t{number}", 3
        self.config = {"number": number, ORDER_KEY: json.dumps({"folder": str(folder)})}
        self.temporary_state = type("State", (), {"ray_actor": Actor(f"a{number}")})()


class Scene:
    """A watchdog, a clock, and what each look at a trial finds."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Any, *, limit: float = 100.0) -> None:
        self.now, self.finding, self.calls = 1000.0, Finding(silent_seconds=0.0), []
        self.longest_report_seconds = 0.0
        self.trial, self.dog = Trial(0, folder), Watchdog(self, limit)  # type: ignore[arg-type]
        patch.setattr(watchdog.time, "monotonic", lambda: self.now)
        patch.setattr(watchdog, "_on_its_machine", self._call)
        patch.setattr(watchdog.ray, "wait", lambda refs, timeout: (refs, []))
        patch.setattr(watchdog.ray, "get", lambda _ref: self.finding)
        patch.setattr(watchdog.ray, "kill", lambda actor: self.calls.append(("ray.kill", actor)))

    def _call(self, _trial: Any, function: Any, *_args: Any) -> object:
        self.calls.append((function.__name__, self.now))
        return object()

    def end(self, number: int, *ending: str) -> None:
        self.calls.append(("end", number, *ending))

    def step(self, seconds: float) -> list[Any]:
        """Time goes by, the watchdog looks; what it did."""
        self.now += seconds
        self.calls.clear()
        self.dog.on_step_begin(trials=[self.trial])
        return list(self.calls)

    @property
    def looks(self) -> list[str]:
        return [call[0] for call in self.calls]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Scene:
    return Scene(monkeypatch, tmp_path)


def test_a_trial_is_looked_at_only_when_its_limit_has_passed(scene: Scene) -> None:
    assert scene.step(0) == []
    assert scene.step(100) == []
    assert [name for name, _ in scene.step(1)] == [examine.__name__]


def test_a_beat_puts_the_next_look_off_by_what_is_left_of_the_limit(scene: Scene) -> None:
    scene.step(0)
    scene.step(101)
    scene.finding = Finding(silent_seconds=30.0)
    assert scene.step(1) == []
    assert scene.step(70) == []  # silent for 100 s
    assert [name for name, _ in scene.step(1)] == [examine.__name__]


def test_a_report_and_another_worker_put_it_off(scene: Scene) -> None:
    scene.step(0)
    scene.now += 90
    scene.dog.on_trial_result(trial=scene.trial)
    assert scene.step(90) == []
    scene.trial.temporary_state.ray_actor = Actor("another")
    assert scene.step(90) == []
    scene.trial.temporary_state.ray_actor = None  # it waits for a worker
    assert scene.step(500) == []


def test_a_silent_trial_ends_in_the_ledger_first_then_its_worker(scene: Scene, tmp_path: Any) -> None:
    scene.step(0)
    scene.step(101)
    scene.finding = Finding(silent_seconds=102.4, state="stopped", stack="File x, line 1")
    calls = scene.step(1)
    assert [call[0] for call in calls] == ["end", kill.__name__, "ray.kill"]
    detail = "no step for 102 s, over its limit of 100 s; its process was stopped; stack.txt says where it stood"
    assert calls[0] == ("end", 0, "failed", "hung", detail)
    assert scene.trial.max_failures == 0
    assert (tmp_path / "stack.txt").read_text() == "File x, line 1"


def test_without_any_beat_the_drivers_own_clock_counts(scene: Scene) -> None:
    scene.step(0)
    scene.step(101)
    scene.finding = Finding(silent_seconds=None)
    assert scene.step(2)[0][:4] == ("end", 0, "failed", "hung")


def test_a_worker_that_is_gone_is_left_to_ray(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.step(0)
    scene.step(101)
    scene.finding = Finding(silent_seconds=500.0, is_there=False)
    assert scene.step(1) == []

    def lost(_ref: object) -> None:
        raise watchdog.ray.exceptions.RayActorError

    monkeypatch.setattr(watchdog.ray, "get", lost)
    assert [name for name, _ in scene.step(101)] == [examine.__name__]
    assert scene.step(1) == []


def test_a_look_that_waited_for_its_machine_blames_no_trial(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was frozen answers when it is back, and by then its workers have been silent for long."""
    scene.step(0)
    scene.step(101)
    scene.finding = Finding(silent_seconds=300.0, state="running")
    monkeypatch.setattr(watchdog.ray, "wait", lambda refs, timeout: ([], refs))
    assert scene.step(60) == []
    monkeypatch.setattr(watchdog.ray, "wait", lambda refs, timeout: (refs, []))
    assert scene.step(60) == []
    assert scene.step(100) == []
    assert scene.looks == []
    assert [name for name, _ in scene.step(1)] == [examine.__name__]
    assert scene.step(1)[0][:4] == ("end", 0, "failed", "hung")


def report_during_a_look(scene: Scene) -> None:
    scene.step(0)
    scene.step(101)
    scene.now += 1
    scene.dog.on_trial_result(trial=scene.trial)


def test_a_report_during_the_look_acquits_a_slow_trial(scene: Scene) -> None:
    report_during_a_look(scene)
    scene.finding = Finding(silent_seconds=102.0, state="running")
    assert scene.step(1) == []
    assert scene.step(90) == []
    assert [name for name, _ in scene.step(10)] == [examine.__name__]


def test_a_stopped_trial_is_ended_though_the_look_set_it_going(scene: Scene) -> None:
    """To say where it stands it has to run for a moment, and small trials report within that."""
    report_during_a_look(scene)
    scene.finding = Finding(silent_seconds=102.0, state="stopped")
    assert scene.step(1)[0][:4] == ("end", 0, "failed", "hung")
