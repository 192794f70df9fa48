import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.tuner.confirmed_search import confirmed_search, found_of
from tests.tuner.mirrored_search import finished
from trainables.parts import ConfigError, Problems
from tuner import mlflow_store, tracking
from tuner.export import app as export_command
from tuner.export import export_best
from tuner.ledger import Ledger
from tuner.mlflow_store import default_tracking_uri
from tuner.registry import Winner, register, winner_of
from tuner.search_folder import write_json
from tuner.settings import parse_model_name

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning")
CALLS = ("create_logged_model", "log_model_artifacts", "finalize_logged_model", "create_registered_model", "create_model_version")
LAST_CALLS = ("set_registered_model_alias", "set_model_version_tag")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("work") / "runs" / "done", "done").folder / "best"


@pytest.fixture(scope="module")
def store(export: Path) -> tuple[Any, str]:
    """A client, and the experiment's id."""
    return mlflow_store.connect(default_tracking_uri(export.parent))


@pytest.fixture(scope="module")
def run_id(store: tuple[Any, str]) -> str:
    return str(store[0].create_run(store[1]).info.run_id)


@pytest.fixture
def winner(export: Path, request: pytest.FixtureRequest) -> Winner:
    """A winner of a search and under a name of the test's own."""
    name = re.sub(r"\W", "-", request.node.name)
    return replace(read(export, trial=0), name=name, search=f"{name}-id")


def read(best: Path, search: str = "done-id", **how: Any) -> Winner:
    return winner_of(best.parent, {"id": search}, best, "bert", **how)


def connect(folder: Path) -> Any:
    return mlflow_store.connect(default_tracking_uri(folder))[0]


def versions(client: Any, name: str) -> list[Any]:
    return sorted((v for v in client.search_model_versions() if v.name == name), key=lambda v: int(v.version))


def champion(client: Any, name: str) -> str:
    return str(client.get_model_version_by_alias(name, "champion").version)


@given(st.text(max_size=300) | st.text("ab./:?@#%' \"\\", max_size=6))
@example("..b")
@example("x" * 257)
def test_a_name_that_is_taken_is_one_that_mlflow_takes_and_finds_again(text: str) -> None:
    from mlflow.store.artifact.utils.models import _parse_model_uri
    from mlflow.utils.validation import _validate_model_name

    problems = Problems()
    name = problems.attempt(lambda: parse_model_name(text))
    assert all(problem.startswith("--register: ") and "but got" in problem for problem in problems.sentences)
    if name is not None:
        _validate_model_name(name)
        assert _parse_model_uri(f"models:/{name}@champion")[:] == (None, name, None, None, "champion")
    elif len(text) <= 256 and text.isprintable() and "?" not in text:  # the rest is MLflow's to refuse
        with pytest.raises(Exception, match="name"):
            _validate_model_name(text)


def test_every_rule_that_a_name_breaks_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_model_name("../a:b\x1b" + "c" * 300)
    assert [problem.split(": ", 2)[2].partition(", but")[0] for problem in caught.value.problems] == [
        "at most 256 characters",
        "no / : or ?",
        "not . nor anything that begins with ..",
        "printable characters alone",
    ]


def test_a_winner_is_what_its_export_says(export: Path) -> None:
    assert read(export).tags["tritune.claim"] == "not confirmed"
    metrics = json.loads((export / "metrics.json").read_text())
    write_json(export / "metrics.json", {**metrics, "claim": "better than the\x1b reference"})
    winner = read(export, trial=0)
    write_json(export / "metrics.json", metrics)
    assert (winner.trial, winner.score) == (0, 0.59)
    assert winner.tags == {
        "tritune.search": "done-id",
        "tritune.trial": "0",
        "tritune.score": "0.590000",
        "tritune.claim": "better than the\\x1b reference",
    }


def test_the_claim_is_of_the_winners_trainings_alone(tmp_path: Path) -> None:
    """Of a search whose reference, trial 0 and trial 1 were confirmed, each as two trainings, and trial 0 has won."""
    folder = confirmed_search(tmp_path / "runs" / "sure", {None: 0.5, 0: 0.95, 1: 0.7})
    found, records = found_of(folder)
    again = {(r.confirms.trial, r.confirms.repeat): r.number for r in records if r.confirms is not None}
    name = "sure-registered"
    for number in (0, again[1, 0], again[None, 1], again[0, 0]):
        done = CliRunner().invoke(export_command, [str(folder), "--trial", str(number), "--register", name])
        assert done.exit_code == 0, done.output
    best, exported = export_best(folder)
    assert exported.number in {again[0, 0], again[0, 1]}
    Ledger.open(folder).set_header("registration", {"name": name, "trial": exported.number})
    done = CliRunner().invoke(tracking.app, ["sync", str(folder)])
    assert done.exit_code == 0, done.output
    claims = {int(v.tags["tritune.trial"]): v.tags["tritune.claim"] for v in versions(connect(folder), name)}
    assert found.claim.startswith("trial 0 is better: ")
    assert {number for number, claim in claims.items() if claim == found.claim} == {again[0, 0], exported.number}
    assert claims[0].startswith(f"not confirmed itself: its config was trained again as trials {again[0, 0]}, {again[0, 1]}, ")
    assert claims[again[1, 0]].startswith("not the winner: trial 1's config, 0.")
    assert claims[again[None, 1]].startswith("not the winner: the reference config, 0.")
    assert read(best, "sure-id").claim == found.claim


def test_what_is_no_export_of_the_search_is_refused(export: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of another search") as caught:
        read(export, "other-id", trial=3)
    assert "trial 3 is to be registered, but trial 0 lies there" in caught.value.problems[1]
    with pytest.raises(ConfigError, match="no export that can be registered: FileNotFoundError"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["MLmodel", "encoder/pytorch_model.bin", "model.pkl"])
def test_files_that_are_none_of_an_export_are_not_registered(name: str, tmp_path: Path) -> None:
    best = finished(tmp_path / "runs" / "s", "s").folder / "best"
    (best / name).parent.mkdir(exist_ok=True)
    (best / name).write_bytes(b"\x80\x04")
    with pytest.raises(ConfigError) as caught:
        read(best, "s-id", trial=0)
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [str(best / name)]


def test_the_winner_is_a_version_that_is_found_by_its_alias(store: tuple[Any, str], run_id: str, winner: Winner) -> None:
    client, experiment = store
    done = register(client, experiment, run_id, winner)
    assert (done.version, done.is_new) == ("1", True)
    version = client.get_model_version_by_alias(winner.name, "champion")
    assert version.run_id == run_id
    assert winner.tags.items() <= version.tags.items()
    [model] = client.search_logged_models([experiment], f"tags.`tritune.search` = '{winner.search}'")
    assert (str(model.status), model.source_run_id, model.name) == ("READY", run_id, "trial-0000")


def test_what_is_downloaded_is_the_export_and_nothing_else(store: tuple[Any, str], run_id: str, winner: Winner) -> None:
    from mlflow.artifacts import download_artifacts

    client, experiment = store
    register(client, experiment, run_id, winner)
    there = Path(download_artifacts(client.get_model_version_download_uri(winner.name, champion(client, winner.name))))

    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert contents(there) == contents(winner.export)


def test_registered_twice_there_is_one_version(store: tuple[Any, str], run_id: str, winner: Winner) -> None:
    client, experiment = store
    register(client, experiment, run_id, winner)
    again = register(client, experiment, run_id, replace(winner, claim="confirmed"))
    assert (again.version, again.is_new) == ("1", False)
    [version] = versions(client, winner.name)
    assert version.tags["tritune.claim"] == "confirmed"
    assert len(client.search_logged_models([experiment], f"tags.`tritune.search` = '{winner.search}'")) == 1


def test_another_trial_is_the_next_version_and_the_champion(store: tuple[Any, str], run_id: str, winner: Winner) -> None:
    client, experiment = store
    register(client, experiment, run_id, winner)
    register(client, experiment, run_id, replace(winner, trial=7))
    assert [version.tags["tritune.trial"] for version in versions(client, winner.name)] == ["0", "7"]
    assert champion(client, winner.name) == "2"
    register(client, experiment, run_id, winner)  # a mirror that looks again
    assert champion(client, winner.name) == "2"
    register(client, experiment, run_id, winner, crown=True)  # a person who asks for it
    assert champion(client, winner.name) == "1"


def test_a_name_may_hold_quotes_and_others_do_not_count(store: tuple[Any, str], run_id: str, winner: Winner) -> None:
    client, experiment = store
    names = [f"{winner.name} 'a' \"b\" 100%", f"{winner.name} c"]
    for name in [*names, *names]:
        register(client, experiment, run_id, replace(winner, name=name))
    assert [len(versions(client, name)) for name in names] == [1, 1]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [*CALLS, *LAST_CALLS])
def test_cut_short_at_any_call_it_is_completed_by_the_next(  # noqa: PLR0917 - fixtures
    call: str, when: str, store: tuple[Any, str], run_id: str, winner: Winner, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, experiment = store
    real: Callable[..., Any] = getattr(type(client), call)

    def cut(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            real(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(type(client), call, cut)
        with pytest.raises(Killed):
            register(client, experiment, run_id, winner)
    register(client, experiment, run_id, winner)
    [version] = versions(client, winner.name)
    assert champion(client, winner.name) == "1"
    [model] = [
        model
        for model in client.search_logged_models([experiment], f"tags.`tritune.search` = '{winner.search}'")
        if str(model.status) == "READY"
    ]
    assert version.source == model.artifact_location
