import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.tuner.confirmed_search import confirmed_search, found_of
from tests.tuner.mirrored_search import BASE, Search, export, finished
from trainables.config import TrialConfig
from trainables.paths import read_yaml
from tuner import mlflow_store, tracking
from tuner.export import export_best
from tuner.ledger import Ledger
from tuner.mirror import Mirror
from tuner.mirror_loop import Follower
from tuner.mirror_plan import Create, HeldRun, Log, SetStatus, Upload, count_missing, is_whole, plan_run
from tuner.mirror_process import MirrorProcess
from tuner.mirror_runs import Point, clean_name, wanted_runs
from tuner.mlflow_store import default_tracking_uri
from tuner.records import rank
from tuner.search_folder import trial_folder

# MLflow 3.17 uses an option of SQLAlchemy that 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning")

SHOWN = {
    *("dev/sst_accuracy", "dev/qqp_accuracy", "dev/sts_pearson", "train/loss", "train/loss_sst", "train/lr"),
    *("train/conflict_share", "train/gradient_change_sst", "train/learnt_weight_sst"),
    *("cost/train_seconds", "cost/examples_per_second"),
}
"""Of the metrics that the reports of these searches hold."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of searches and one store for all tests here: making a store takes seconds."""
    return tmp_path_factory.mktemp("work") / "runs"


@pytest.fixture(scope="module")
def done(runs: Path) -> Search:
    """A finished search; for reading, and for sending under a name of the test's own."""
    return finished(runs / "done", "done")


@pytest.fixture(scope="module")
def uri(runs: Path) -> str:
    return default_tracking_uri(runs / "any")


@pytest.fixture(scope="module")
def client(uri: str) -> Any:
    return mlflow_store.connect(uri)[0]


@pytest.fixture
def search_name(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W", "-", request.node.name)


def held_runs(client: Any, name: str) -> dict[int | None, Any]:
    """The runs of a search by trial; a run twice is an error."""
    experiment = client.get_experiment_by_name("tritune")
    found = client.search_runs([experiment.experiment_id], f"tags.`tritune.search` = '{name}-id'")
    keys = [int(run.data.tags["tritune.trial"]) if "tritune.trial" in run.data.tags else None for run in found]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, found, strict=True))


def points(client: Any, run: Any, metric: str = "score") -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, metric))


def artifacts(client: Any, run: Any, folder: str | None = None) -> set[str]:
    found: set[str] = set()
    for item in client.list_artifacts(run.info.run_id, folder):
        found |= artifacts(client, run, item.path) if item.is_dir else {item.path}
    return found


# What must be sent: no MLflow needed.


def apply(operation: Any, held: dict[int | None, HeldRun], trial: int | None, sent: list[Any]) -> None:
    """A store in memory that counts points."""
    if isinstance(operation, Create):
        held[trial] = HeldRun(f"run-{trial}", tags=dict(operation.run.tags))
    elif isinstance(operation, Log):
        held[trial].tags |= operation.tags
        held[trial].params |= operation.params
        held[trial].steps |= {point.step for point in operation.points}
        sent += [(trial, point.step) for point in operation.points]
    elif isinstance(operation, SetStatus):
        held[trial].status = operation.status
    else:
        assert isinstance(operation, Upload)
        sent.append((trial, operation.artifact.name))


def test_killed_after_any_operation_the_rest_follows_and_no_point_is_sent_twice(done: Search) -> None:
    wanted = done.wanted(over=True)
    reference: dict[int | None, HeldRun] = {}
    whole: list[Any] = []
    for trial, run in wanted.items():
        for operation in plan_run(run, None):
            apply(operation, reference, trial, whole)
    for trial, run in wanted.items():
        for cut in range(len(plan_run(run, None)) + 1):
            held: dict[int | None, HeldRun] = {}
            sent: list[Any] = []
            for operation in plan_run(run, None)[:cut]:
                apply(operation, held, trial, sent)
            for operation in plan_run(run, held.get(trial)):
                apply(operation, held, trial, sent)
            assert held[trial] == reference[trial]
            assert plan_run(run, held[trial]) == []
            steps = [item for item in sent if isinstance(item[1], int)]
            assert sorted(steps) == sorted(item for item in whole if item[0] == trial and isinstance(item[1], int))


def test_what_is_missing_goes_in_one_log_with_params_and_tags(done: Search) -> None:
    run = replace(done.wanted()[2], status="RUNNING", seal="")
    create, log = plan_run(run, None)
    assert isinstance(create, Create) and isinstance(log, Log)
    assert ([point.step for point in log.points], bool(log.params)) == ([100, 200], True)
    [rest] = plan_run(run, HeldRun("run-2", tags=dict(run.tags), params=dict(run.params), steps={100}))
    assert isinstance(rest, Log) and [point.step for point in rest.points] == [200] and not rest.params


@given(num_points=st.integers(0, 400), num_metrics=st.integers(1, 40))
def test_no_log_is_larger_than_mlflow_takes(num_points: int, num_metrics: int, done: Search) -> None:
    points = tuple(Point(n, n, {f"loss_{m}": 0.5 for m in range(num_metrics)}) for n in range(num_points))
    _, *logs = plan_run(replace(done.wanted()[2], status="RUNNING", seal="", points=points), None)
    assert [point for log in logs if isinstance(log, Log) for point in log.points] == list(points)
    counted = [(log, sum(len(point.metrics) for point in log.points)) for log in logs if isinstance(log, Log)]
    assert all(size + len(log.params) + len(log.tags) <= 1000 for log, size in counted)
    assert len(counted) <= 2 + num_points * num_metrics / 500


def test_what_is_settled_is_not_looked_at_again(done: Search) -> None:
    mirror = Mirror("sqlite:///nowhere")
    mirror._client, mirror._held = client, _ = MagicMock(), {}
    mirror.send(done.wanted(over=True))
    assert mirror.settled == {0, 1, 2}
    header, records = done.ledger.header, done.ledger.records()
    left = wanted_runs(header, records, done.folder, over=True, settled=mirror.settled)
    assert list(left) == [None]
    client.log_batch.side_effect = RuntimeError
    with pytest.raises(RuntimeError):
        mirror.send(done.wanted(over=False))
    assert mirror.settled == set()


def test_a_trial_whose_ask_was_cut_short_is_not_shown(tmp_path: Path) -> None:
    search = Search(tmp_path / "s", "s")
    search.ledger._study.ask()
    assert list(search.wanted()) == [None]


def test_a_header_that_lacks_everything_is_enough(tmp_path: Path) -> None:
    run = wanted_runs({}, [], tmp_path, over=False)[None]
    assert run.name == tmp_path.name
    assert run.tags["tritune.search"] == wanted_runs({}, [], tmp_path, over=False)[None].tags["tritune.search"]


def test_names_have_only_the_characters_that_mlflow_admits() -> None:
    assert clean_name("heads.*.kind") == "heads.all.kind"
    assert clean_name("a=b{c}") == "a_b_c_"
    assert len(clean_name("x" * 999)) == 250


def test_values_that_are_too_long_are_cut(tmp_path: Path) -> None:
    search = Search(tmp_path / "s", "s")
    search.ledger.set_header("settings", {"long": "x" * 7000})
    search.ask()
    search.ledger.tell(0, "failed", "error", "y" * 9000)
    wanted = search.wanted()
    assert len(wanted[None].params["long"]) == 6000
    assert len(wanted[0].tags["tritune.detail"]) == 8000


def test_the_time_of_a_point_does_not_depend_on_when_it_is_sent(done: Search) -> None:
    first, again = done.wanted()[0], done.wanted()[0]
    assert first.points == again.points
    assert [p.timestamp_ms - first.start_ms for p in first.points] == [2500 * i for i in range(1, 10)]


def test_the_parents_curve_is_the_best_of_the_complete_trials(tmp_path: Path) -> None:
    search = Search(tmp_path / "s", "s")
    search.ask(4)
    for number, reports in enumerate([(9,), (1, 2), (3,), (9, 11)]):
        search.report(number, *reports)
    for number, ending in [(1, "stopped"), (0, "complete"), (2, "failed"), (3, "complete")]:
        search.ledger.tell(number, ending)  # type: ignore[arg-type]
    curve = search.wanted()[None].points
    assert [(p.step, p.metrics["best_score"]) for p in curve] == [(2, 0.59), (3, 0.59), (4, 0.61)]


def test_a_row_that_teaches_one_task_is_not_the_best_of_the_parents_curve(tmp_path: Path) -> None:
    search = Search(tmp_path / "s", "s")
    search.ask(base=BASE.override({"phases": [{"tasks": ["sst"]}]}))
    search.ask()
    assert [record.trains_every_task for record in search.ledger.records()] == [False, True]
    for number, report in ((0, 9), (1, 1)):
        search.report(number, report)
        search.ledger.tell(number, "complete")
    assert [(p.step, p.metrics["best_score"]) for p in search.wanted()[None].points] == [(2, 0.51)]


def test_what_is_missing_is_counted(done: Search) -> None:
    wanted = done.wanted(over=True)
    assert count_missing(wanted, None) == (3, 12)
    there = HeldRun("r", tags=dict(wanted[0].tags), params=dict(wanted[0].params), steps={100, 200})
    held: dict[int | None, HeldRun] = {0: there}
    assert count_missing(wanted, held) == (3, 10)
    there.tags["tritune.mirrored"] = wanted[0].seal
    there.status = "FINISHED"
    assert is_whole(wanted[0], there)
    assert count_missing(wanted, held) == (2, 3)


def test_the_loop_survives_any_error_and_ends_when_all_was_sent() -> None:
    outcomes = iter([OSError("locked"), ValueError("500"), None, KeyError("torn"), None])
    done = []

    def send_once() -> None:
        outcome = next(outcomes)
        done.append(outcome)
        if outcome:
            raise outcome

    assert Follower(send_once, lambda: len(done) >= 4).run(give_up_seconds=60, poll_seconds=0.001)
    assert len(done) == 5


def test_the_loop_gives_up_only_once_the_search_is_over() -> None:
    tries = []

    def send_once() -> None:
        tries.append(1)
        raise OSError("dead")

    assert not Follower(send_once, lambda: len(tries) > 3).run(give_up_seconds=0, poll_seconds=0.001)
    assert len(tries) == 5  # the last one is the try after the end


# Against a real store.


@pytest.fixture(scope="module")
def shown(client: Any, uri: str, done: Search) -> dict[int | None, Any]:
    """The runs of the finished search in MLflow."""
    Mirror(uri).send(done.wanted(over=True))
    return held_runs(client, "done")


def test_everything_of_a_finished_search_stands_in_mlflow(client: Any, done: Search, shown: dict[int | None, Any]) -> None:
    held = shown
    parent, record = held[None], done.ledger.record(0)
    assert [held[n].info.status for n in (None, 0, 1, 2)] == ["FINISHED", "FINISHED", "FINISHED", "FAILED"]
    assert [held[n].data.tags["tritune.state"] for n in (0, 1, 2)] == ["complete", "stopped", "failed"]
    assert held[2].data.tags["tritune.reason"] == "diverged"
    assert [held[n].info.run_name for n in (None, 0)] == ["done", "trial-0000"]
    for number in range(3):
        assert held[number].data.tags["mlflow.parentRunId"] == parent.info.run_id
    for run in held.values():
        assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
        assert run.data.tags["mlflow.user"]
        assert len(run.data.tags["tritune.data_sha256"]) == 64
    assert {key: held[0].data.params[key] for key in map(clean_name, record.assignment)} == {
        clean_name(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in record.assignment.items()
    }
    assert held[0].data.params["seed"] == str(record.config["seed"])
    assert held[0].data.params["budget_examples"] == "900"
    assert parent.data.params["trials"] == "3"
    assert parent.data.tags["tritune.best_trial"] == "0"
    assert "trial 0, score 0.5900" in parent.data.tags["mlflow.note.content"]
    assert client.get_experiment(parent.info.experiment_id).tags["mlflow.experimentKind"] == "custom_model_development"
    assert record.started is not None
    assert record.ended is not None
    assert held[0].info.start_time == int(record.started.timestamp() * 1000)
    assert held[0].info.end_time == int(record.ended.timestamp() * 1000)


@pytest.mark.parametrize("best", ["exported", "damaged", "none"])
def test_of_a_confirmed_search_the_best_is_what_is_exported(tmp_path: Path, best: str) -> None:
    """The luckiest trial of the search is not the one whose config has won."""
    folder = confirmed_search(tmp_path / "runs" / "sure", {None: 0.5, 0: 0.95, 1: 0.7})
    found, records = found_of(folder)
    assert found.winner is not None and found.winner.trial == 0 and rank(records)[0].number == 1
    if best == "damaged":  # so that the next config is exported
        for number in found.winner.trainings:
            (trial_folder(folder, number) / "best" / "metrics.json").write_bytes(b"")
    winners = found.configs[1] if best == "damaged" else found.winner
    expected = max((records[number] for number in winners.trainings), key=lambda record: record.score or 0)
    if best != "none":
        assert export_best(folder)[1] == expected
    parent = tracking._read_ledger(Ledger.open(folder), folder, gone=True)[None]
    assert parent.tags["tritune.best_trial"] == str(expected.number)
    assert json.loads(parent.tags["tritune.best_config"]) == expected.assignment
    [log] = [artifact for artifact in parent.artifacts if artifact.name == "best/log.txt"]
    assert log.path is not None and log.path.read_text() == f"log of {expected.number}\n"
    said = f"; winner: **trial {expected.number}**, trial {winners.trial}'s config trained again with the new seed"
    assert said in parent.tags["mlflow.note.content"]
    assert f"\nClaim: {found.said_of(expected)}\n" in parent.tags["mlflow.note.content"]


def test_a_report_is_one_point_of_few_plain_metrics(client: Any, shown: dict[int | None, Any]) -> None:
    held = shown
    assert points(client, held[0]) == [(100 * i, 0.5 + i / 100) for i in range(1, 10)]
    assert points(client, held[1], "train/loss_sst") == [(100, 0.5)]
    assert set(held[0].data.metrics) == {"score", *SHOWN}
    assert points(client, held[None], "best_score") == [(1, 0.59), (2, 0.59), (3, 0.59)]


def test_a_new_store_has_a_write_ahead_log_and_one_experiment(runs: Path, client: Any, uri: str) -> None:
    with contextlib.closing(sqlite3.connect(runs / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert mlflow_store.connect(uri)[1] == client.get_experiment_by_name("tritune").experiment_id


def test_a_store_whose_making_was_cut_short_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.db import utils

    uri = default_tracking_uri(tmp_path / "runs" / "s")

    def make_a_half(engine: Any) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE secrets (id INTEGER)")
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", make_a_half)
        with pytest.raises(SystemExit):
            mlflow_store.connect(uri)
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    client, experiment_id = mlflow_store.connect(uri)
    assert client.get_experiment(experiment_id).name == "tritune"


def test_artifacts_are_configs_logs_and_predictions_but_no_weights(
    runs: Path, client: Any, done: Search, shown: dict[int | None, Any]
) -> None:
    held = shown
    assert artifacts(client, held[1]) == {"config.yaml", "log.txt"}
    assert artifacts(client, held[None]) == {
        "report.html",
        "settings.yaml",
        "best/config.yaml",
        "best/lineage.json",
        "best/log.txt",
        "best/metrics.json",
        "best/predictions/sst-dev-output.csv",
    }
    config = read_yaml(Path(client.download_artifacts(held[0].info.run_id, "config.yaml")))
    assert TrialConfig.parse(config).to_tree() == done.ledger.record(0).config
    assert held[0].info.artifact_uri.startswith((runs / "mlartifacts").as_uri())


def test_sent_again_by_another_mirror_nothing_is_added(client: Any, uri: str, done: Search, search_name: str) -> None:
    wanted = done.wanted(over=True, name=search_name)
    first, second = Mirror(uri), Mirror(uri)
    first.send(wanted)
    assert (first.sent["runs"], first.sent["reports"]) == (4, 12)
    before = {trial: run.to_dictionary() for trial, run in held_runs(client, search_name).items()}
    second.send(wanted)
    assert second.sent.total() == 0
    assert {trial: run.to_dictionary() for trial, run in held_runs(client, search_name).items()} == before


@pytest.mark.parametrize("allowed", [1, 4, 9, 19])
def test_a_mirror_that_died_midway_is_completed_by_the_next(
    client: Any, uri: str, done: Search, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_name = f"died-after-{allowed}"
    wanted = done.wanted(over=True, name=search_name)
    applied: list[Any] = []
    apply_one = Mirror._apply

    def die_after_some(self: Mirror, *args: Any) -> None:
        if len(applied) == allowed:
            raise SystemExit
        apply_one(self, *args)
        applied.append(args)

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "_apply", die_after_some)
        with pytest.raises(SystemExit):
            Mirror(uri).send(wanted)
    Mirror(uri).send(wanted)
    held = held_runs(client, search_name)
    assert [len(points(client, held[n])) for n in range(3)] == [9, 1, 2]
    assert [held[n].info.status for n in (None, 0, 1, 2)] == ["FINISHED", "FINISHED", "FINISHED", "FAILED"]
    assert artifacts(client, held[2]) == {"config.yaml", "log.txt"}


def test_a_point_that_arrived_although_the_answer_was_lost_is_not_sent_again(
    client: Any, uri: str, done: Search, search_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, wanted = Mirror(uri), done.wanted(over=True, name=search_name)
    lost = iter(range(100))

    def lose_every_second(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = real(self, *args, **kwargs)
            if next(lost) % 2 == 0:
                raise ConnectionError("no answer")
            return result

        return call

    for name in ("create_run", "log_batch", "set_terminated"):
        monkeypatch.setattr(type(client), name, lose_every_second(getattr(type(client), name)))
    for _ in range(60):
        with contextlib.suppress(ConnectionError):
            mirror.send(wanted)
            break
    else:
        pytest.fail("the mirror never came to an end")
    held = held_runs(client, search_name)
    assert [len(points(client, held[n])) for n in range(3)] == [9, 1, 2]


def test_runs_that_were_made_twice_become_one(client: Any, uri: str, done: Search, search_name: str) -> None:
    wanted = done.wanted(over=True, name=search_name)
    experiment = client.get_experiment_by_name("tritune").experiment_id
    for _ in range(2):
        client.create_run(experiment, wanted[1].start_ms, dict(wanted[1].tags), wanted[1].name)
    Mirror(uri).send(wanted)
    assert points(client, held_runs(client, search_name)[1]) == [(100, 0.51)]


def test_an_interrupted_search_is_killed_and_runs_again_when_it_is_resumed(runs: Path, client: Any, search_name: str) -> None:
    search = Search(runs / search_name, search_name)
    mirror = Mirror(default_tracking_uri(search.folder))
    search.ask()
    search.report(0, 1, 2)
    mirror.send(search.wanted())
    assert [run.info.status for run in held_runs(client, search_name).values()] == ["RUNNING", "RUNNING"]
    search.end("stopped")
    mirror.send(search.wanted(over=True))
    held = held_runs(client, search_name)
    assert [run.info.status for run in held.values()] == ["KILLED", "KILLED"]
    assert held[0].data.tags["tritune.state"] == "interrupted"

    search.end(None)
    search.ledger.set_header("settings", {"trials": 19})
    mirror = Mirror(default_tracking_uri(search.folder))
    search.ask()
    search.report(0, 3)
    mirror.send(search.wanted())
    held = held_runs(client, search_name)
    assert [held[n].info.status for n in (None, 0, 1)] == ["RUNNING"] * 3
    assert held[None].data.params["trials"] == "3"  # MLflow's params are for ever
    assert held[None].data.tags["tritune.now.trials"] == "19"
    search.ledger.tell(0, "complete")
    search.ledger.tell(1, "failed", "error", "boom")
    search.end("complete")
    mirror.send(search.wanted(over=True))
    held = held_runs(client, search_name)
    assert [held[n].info.status for n in (None, 0, 1)] == ["FINISHED", "FINISHED", "FAILED"]
    assert points(client, held[0]) == [(100, 0.51), (200, 0.52), (300, 0.53)]


def test_a_run_that_mlflow_refuses_does_not_keep_the_others_back(client: Any, uri: str, done: Search, search_name: str) -> None:
    wanted = done.wanted(over=True, name=search_name)
    wanted[0].params["a=b"] = "no such name is admitted"  # type: ignore[index]
    with pytest.raises(Exception, match="Invalid value"):
        Mirror(uri).send(wanted)
    held = held_runs(client, search_name)
    assert [held[n].info.status for n in (1, 2)] == ["FINISHED", "FAILED"]
    assert held[0].info.status == "RUNNING"


def test_sync_says_what_it_sent_and_then_that_nothing_was_missing(runs: Path, client: Any, search_name: str) -> None:
    search = finished(runs / search_name, search_name)
    with FileLock(search.folder / ".mirror.lock"):  # two mirrors at once would send everything twice
        refused = CliRunner().invoke(tracking.app, ["sync", str(search.folder)])
    assert refused.exit_code == 1
    assert "another mirror is at work" in refused.stderr
    assert not held_runs(client, search_name)
    first, second = (CliRunner().invoke(tracking.app, ["sync", str(search.folder)]) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert "4 runs, 12 reports, 13 files" in first.stdout
    assert "nothing was missing" in second.stdout


def test_sync_registers_what_the_driver_wrote_down_and_later_leaves_it_alone(runs: Path, client: Any, search_name: str) -> None:
    search = finished(runs / search_name, search_name)
    search.ledger.set_header("registration", {"name": search_name, "trial": 0})
    first, second = (CliRunner().invoke(tracking.app, ["sync", str(search.folder)]) for _ in range(2))
    assert first.stdout.endswith(f"; registered as {search_name}, version 1\n")
    assert second.stdout.endswith(f"nothing was missing; registered as {search_name}, version 1 (it was there)\n")
    champion = client.get_model_version_by_alias(search_name, "champion")
    assert champion.run_id == held_runs(client, search_name)[0].info.run_id

    search.end(None)  # somebody goes on with it: the winner may be another one
    search.ledger.set_header("registration", {"name": search_name, "trial": 1})
    assert CliRunner().invoke(tracking.app, ["sync", str(search.folder)]).exit_code == 0
    search.end("complete")
    refused = CliRunner().invoke(tracking.app, ["sync", str(search.folder)])
    assert refused.exit_code == 1
    assert f"trial 1 is not registered as {search_name}" in refused.stderr and "but trial 0 lies there" in refused.stderr
    assert client.get_registered_model(search_name).aliases == {"champion": champion.version}


def test_sync_of_what_is_no_search_is_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(tracking.app, ["sync", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr == f"error: {tmp_path}: no search stands here (there is no study.db)\n"


@pytest.mark.parametrize("where", ["option", "header"])
def test_sync_refuses_credentials_and_repeats_none(where: str, tmp_path: Path) -> None:
    search, uri = Search(tmp_path / "s", "s"), "http://me:s3cret@127.0.0.1:9"
    if where == "header":
        search.ledger.set_header("settings", {"tracking_uri": uri})
    args = ["--tracking-uri", uri] if where == "option" else []
    result = CliRunner().invoke(tracking.app, ["sync", str(search.folder), *args])
    assert result.exit_code == 2
    assert "MLFLOW_TRACKING_PASSWORD" in result.stderr and "s3cret" not in result.output


def test_a_store_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "50% {a}#b?c%41"
    client, experiment_id = mlflow_store.connect(default_tracking_uri(folder / "s"))
    run = client.create_run(experiment_id)
    client.log_text(run.info.run_id, "text", "a/b.txt")
    assert [file.path for file in client.list_artifacts(run.info.run_id, "a")] == ["a/b.txt"]
    assert (folder / "mlflow.db").is_file()
    assert len(list(folder.rglob("b.txt"))) == 1


def test_the_environment_bounds_mlflow_but_the_users_wish_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"MLFLOW_HTTP_REQUEST_TIMEOUT": "99"})
    mlflow_store.set_environment()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "99"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


# As a process, as the driver uses it.


def test_the_process_follows_a_search_through_ctrl_c_and_ends_with_it(runs: Path, client: Any, search_name: str) -> None:
    search = Search(runs / search_name, search_name)
    search.ask()
    search.report(0, 1)
    mirror = MirrorProcess(search.folder).start()
    wait_for(lambda: 0 in held_runs(client, search_name))
    assert mirror._process is not None
    mirror._process.send_signal(signal.SIGINT)
    search.report(0, 2)
    search.ledger.tell(0, "complete")
    export(search)
    search.ledger.set_header("registration", {"name": search_name, "trial": 0})
    search.end("complete")
    result = mirror.close(timeout_seconds=60)
    assert result.complete, result.message
    assert "sent: 2 runs, 2 reports" in result.message and f"registered as {search_name}, version 1" in result.message
    assert points(client, held_runs(client, search_name)[0]) == [(100, 0.51), (200, 0.52)]


def test_a_dead_server_is_given_up_and_sync_sends_all_of_it_later(runs: Path, client: Any, search_name: str) -> None:
    search = finished(runs / search_name, search_name)
    search.ledger.set_header("registration", {"name": search_name, "trial": 0})
    with socket.socket() as taken:  # bound, but nobody listens: connections are refused
        taken.bind(("127.0.0.1", 0))
        mirror = MirrorProcess(search.folder, f"http://127.0.0.1:{taken.getsockname()[1]}", give_up_seconds=0).start()
        result = mirror.close(timeout_seconds=60)
    assert not result.complete
    assert f"3 trials, 12 reports are missing, trial 0 is not registered as {search_name};" in result.message
    assert f"python -m tuner.tracking sync {search.folder}" in result.message
    assert CliRunner().invoke(tracking.app, ["sync", str(search.folder)]).exit_code == 0
    assert points(client, held_runs(client, search_name)[2]) == [(100, 0.51), (200, 0.52)]
    assert client.get_model_version_by_alias(search_name, "champion").tags["tritune.trial"] == "0"


def test_a_mirror_that_is_stopped_is_killed_in_time(tmp_path: Path) -> None:
    search = Search(tmp_path / "s", "s")
    mirror = MirrorProcess(search.folder).start()
    assert mirror._process is not None
    mirror._process.send_signal(signal.SIGSTOP)
    result = mirror.close(timeout_seconds=0.2)
    assert not result.complete
    assert "python -m tuner.tracking sync" in result.message
    assert mirror._process.poll() == -signal.SIGKILL
    assert mirror.close() is result


def test_who_interrupts_the_wait_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search is done and exported by then: its exit code stays 0."""
    search = Search(tmp_path / "s", "s")
    mirror = MirrorProcess(search.folder).start()
    assert mirror._process is not None
    waits, process = iter([KeyboardInterrupt]), mirror._process
    wait = process.wait

    def interrupted(timeout: float | None = None) -> int:
        for error in waits:
            raise error
        return wait(timeout)

    monkeypatch.setattr(process, "wait", interrupted)
    result = mirror.close()
    assert not result.complete
    assert "it was still at work when it was interrupted; send the rest: python -m tuner.tracking sync" in result.message
    assert process.poll() == -signal.SIGKILL


def test_a_mirror_that_cannot_start_says_so_and_raises_nothing(tmp_path: Path) -> None:
    with MirrorProcess(tmp_path / "missing") as mirror:
        pass
    assert mirror.result is not None
    assert "could not be started" in mirror.result.message


def test_the_mirror_ends_when_its_driver_is_killed(runs: Path, client: Any, search_name: str) -> None:
    search = Search(runs / search_name, search_name)
    search.ask()
    search.report(0, 1)
    code = "import sys, time\nfrom pathlib import Path\nfrom tuner.mirror_process import MirrorProcess\n"
    code += "mirror = MirrorProcess(Path(sys.argv[1])).start()\nprint(mirror._process.pid, flush=True)\ntime.sleep(600)"
    driver = subprocess.Popen([sys.executable, "-c", code, str(search.folder)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    pid = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    driver.stdout.close()
    wait_for(lambda: not is_running(pid))
    held = held_runs(client, search_name)
    assert [held[n].info.status for n in (None, 0)] == ["KILLED", "KILLED"]
    assert points(client, held[0]) == [(100, 0.51)]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)
