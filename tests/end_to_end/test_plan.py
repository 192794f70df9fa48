"""`--plan` with the real command: steps are timed in processes of their own.  No Ray."""

import json

from tests.end_to_end.conftest import Bench
from tuner.plan import Plan
from tuner.plan_probe import NO_TIME


def test_a_plan_times_steps_and_starts_nothing(bench: Bench) -> None:
    sample = ["--plan", "--set", "encoder.name=tiny", "--set", "data.max_tokens=48", "--concurrency", "1", "--price", "2"]
    done = bench.run("tuner.search", *sample, "--json")
    assert done.code == 0, done.err
    plan = Plan.parse(json.loads(done.out))
    assert (plan.trials, plan.slots, plan.probe_processes) == (12, 1, 1)
    assert {"middle", "dearest", "cheapest"} <= set(plan.timed) and set(plan.failed.values()) <= {NO_TIME}
    assert 0 < plan.wall_seconds.low <= plan.wall_seconds.middle <= plan.wall_seconds.high
    assert plan.cost is not None and plan.cost.middle > 0
    assert 0 < plan.memory_bytes.high < plan.nodes[0].memory_bytes
    assert list(bench.folder.iterdir()) == []


def test_a_plan_made_first_stands_in_the_ledger_beside_what_happened(bench: Bench) -> None:
    from tuner.ledger import Ledger
    from tuner.plan_fact import plan_beside_fact, plan_in

    done = bench.search("--plan-first", "--trials", "2", "--budget", "36", "--set", "num_reports=3", "--out", "runs/a")
    assert done.code == 0, done.err
    assert done.out.startswith("Space basics\n") and "exported trial" in done.out
    ledger = Ledger.read(bench.folder / "runs" / "a")
    plan = plan_in(ledger.header)
    assert plan is not None
    facts = {fact.name: fact.fact for fact in plan_beside_fact(plan, ledger.records(), ledger.header)}
    assert all(fact is not None for fact in facts.values()), facts
    assert facts["reach report 1"] == 2 and facts["peak disk"] and facts["memory of a trial"] > 50 * 2**20
    rows = bench.run("tuner.search", "--resume", "runs/a", "--trials", "+2", "--plan", "--json")
    assert json.loads(rows.out)["trials_to_go"] == 2
