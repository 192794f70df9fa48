"""`--plan` on the command line: what is refused, what is shown, and that nothing is started."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.tuner.planned import as_guessed
from trainables.parts import ConfigError
from tuner import driver, plan_command, search
from tuner.cluster_join import Cluster, Node
from tuner.ledger import Ledger
from tuner.plan import PLAN, Plan
from tuner.plan_making import DRIVER_BYTES, make_plan
from tuner.prepare import prepare

TINY = ["--space", "basics", "--set", "encoder.name=tiny"]


@pytest.fixture(autouse=True)
def _played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan_command, "make_plan", lambda *args, **options: make_plan(*args, probe=as_guessed, **options))
    monkeypatch.setattr(driver, "drive", lambda *_, **__: pytest.fail("a search was started"))


def run(*args: str) -> Any:
    return CliRunner().invoke(search.app, list(args))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--price", "1"], "--price: is of a plan; --plan or --plan-first must be given with it"),
        (["--json"], "--json: is of a plan; --plan must be given with it"),
        (["--plan", "--price", "nan"], "--price: a number >= 0 must be given, but got nan"),
        (["--plan", "--price", "-0.5"], "--price: a number >= 0 must be given, but got -0.5"),
        (["--plan", "--price", "inf"], "--price: a number >= 0 must be given, but got inf"),
        (["--plan", "--plan-first"], "--plan-first: --plan alone starts nothing; leave one of them out"),
        (["--plan", "--print-config"], "--print-config: it starts nothing and times nothing; leave it out with a plan"),
        (["--plan-first", "--json"], "--json: is of a plan; --plan must be given with it"),
        (["--plan", "--trials", "0"], "--trials: a whole number such as 32"),
        (["--plan", "--space", "no-such"], "no-such"),
    ],
)
def test_mistakes_are_told_and_nothing_is_made(args: list[str], words: str, tmp_path: Path) -> None:
    done = run(*args, "--set", "encoder.name=tiny")
    assert done.exit_code == search.EXIT_MISTAKE and words in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_the_mistakes_come_all_at_once() -> None:
    done = run("--plan", "--price", "-1", "--trials", "x", "--json", "--print-config")
    assert "for 3 reasons" in done.stderr


def test_a_plan_is_printed_and_nothing_else_is_done(tmp_path: Path) -> None:
    done = run("--plan", "--price", "0.5", "--concurrency", "1", "--out", "runs/a", *TINY)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("Space basics\n") and "at 0.50 an hour of a worker" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_as_json_it_is_one_object() -> None:
    done = run("--plan", "--json", "--trials", "5", *TINY)
    plan = Plan.parse(json.loads(done.stdout))
    assert (plan.trials, plan.trials_to_go, plan.price, plan.cost) == (5, 5, None, None)


def test_a_study_is_planned_too() -> None:
    done = run(
        "--plan", "--json", "--study", "best_fit.schedules", "--seeds", "1", "--set", "encoder.name=tiny", "--budget", "400"
    )
    plan = Plan.parse(json.loads(done.stdout))
    assert plan.space.name == "best_fit.schedules" and plan.rungs == () and plan.complete.middle == plan.trials


def begun(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    plan = prepare({"trials": 3, "space": "basics"}, set_texts=["encoder.name=tiny"])
    Ledger.create(folder, {**plan.header(), "id": "0", "name": "a"})
    return folder


def test_what_is_left_of_a_search_is_planned_and_its_folder_stays_as_it_is(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = run("--plan", "--json", "--resume", str(folder), "--trials", "+4")
    assert done.exit_code == 0, done.stderr
    assert Plan.parse(json.loads(done.stdout)).trials == 7
    assert {path: path.read_bytes() for path in before} == before
    done = run("--plan-first", "--resume", str(folder))
    assert done.exit_code == 2 and "--plan-first: the plan of a search is kept as it was made" in done.stderr


def test_a_plan_made_first_goes_to_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(driver, "drive", lambda *_, **options: given.update(options) or 0)
    done = run("--plan-first", *TINY)
    assert done.exit_code == 0 and done.stdout.startswith("Space basics\n")
    assert Plan.parse(given["expected"]).trials == 12
    assert run("--plan-first", "--quiet", *TINY).stdout == ""
    run(*TINY)
    assert given["expected"] is None


def test_where_no_trial_fits_or_can_be_timed_it_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("--plan", "--gpus-per-trial", "64", *TINY)
    assert done.exit_code == 2 and "each trial asks for 1 CPU(s) and 64 GPU(s)" in done.stderr

    def fail(*_: Any, **__: Any) -> Plan:
        raise ConfigError(["--plan: no trial could be timed: out of memory"])

    monkeypatch.setattr(plan_command, "make_plan", fail)
    done = run("--plan", *TINY)
    assert done.exit_code == 2 and done.stderr == "Nothing was started:\n  --plan: no trial could be timed: out of memory\n"


def test_nodes_and_their_memory_are_the_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    search_plan = prepare({"trials": 9, "space": "basics", "cpus_per_trial": 2}, set_texts=["encoder.name=tiny"])
    nodes = (Node("a", "one", "10.0.0.1", 8, 0, 10**10), Node("b", "two", "10.0.0.2", 4, 0), Node("c", "small", "10.0.0.3", 1, 0))
    cluster = Cluster("10.0.0.1:6379", Path("token"), nodes)
    plan = plan_command.plan_search(Path("runs/a"), search_plan, cluster, is_new=True, price=None)
    assert [(node.host, node.slots, node.memory_bytes) for node in plan.nodes] == [("one", 4, 10**10), ("two", 2, 0)]
    assert plan.slots == 6 and [node.other_bytes for node in plan.nodes] == [0, 0]
    monkeypatch.setattr(plan_command.platform, "node", lambda: "two")
    plan = plan_command.plan_search(Path("runs/a"), search_plan, cluster, is_new=True, price=None)
    assert [node.other_bytes for node in plan.nodes] == [0, DRIVER_BYTES]
    alone = plan_command.plan_search(Path("runs/a"), search_plan, None, is_new=True, price=None)
    assert [(node.host, node.other_bytes) for node in alone.nodes] == [("two", DRIVER_BYTES)]


def test_the_ledger_keeps_a_plan_and_refuses_what_is_none(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    ledger = Ledger.open(folder)
    ledger.set_header(PLAN, {"made": "now"})
    assert Ledger.read(folder).header[PLAN] == {"made": "now"}
    ledger.set_header(PLAN, "a text")
    with pytest.raises(ValueError, match="plan"):
        _ = Ledger.read(folder).header
