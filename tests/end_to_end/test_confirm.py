"""A search that proves its winner, as a user runs it: killed while it does, gone on with, looked at, exported."""

import json
import signal
from collections.abc import Callable

import pytest

from tests.end_to_end.conftest import QUICK, Bench, Done
from tuner.records import TrialRecord, searched

NUM_TRIALS, NUM_BEST, NUM_SEEDS = 4, 2, 2
ARGS = ["--trials", str(NUM_TRIALS), "--confirm", str(NUM_BEST), "--confirm-seeds", str(NUM_SEEDS), "--budget", "1800"]


def is_confirming(records: list[TrialRecord]) -> bool:
    return sum(record.confirms is not None and bool(record.reports) for record in records) >= 2


@pytest.fixture(scope="module")
def confirmed(make_bench: Callable[[str], Bench]) -> tuple[Bench, list[TrialRecord], Done]:
    """The bench, the records at a kill -9 amid the confirmation, and the command that went on."""
    bench = make_bench("confirmed")
    process = bench.start("tuner.search", "--data", bench.data, *QUICK, *ARGS, "--out", "runs/c")
    bench.wait_for("c", is_confirming)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = bench.records("c")
    done = bench.run("tuner.search", "--resume", "runs/c")
    assert done.code == 0, done.err
    return bench, before, done


def test_a_kill_loses_no_training_and_trains_none_twice(confirmed: tuple[Bench, list[TrialRecord], Done]) -> None:
    bench, before, _ = confirmed
    records = bench.records("c")
    assert len(searched(records)) == NUM_TRIALS
    again = [record.confirms for record in records if record.confirms is not None]
    assert len(again) == len(set(again)) == (NUM_BEST + 1) * NUM_SEEDS
    for old, new in zip(before, records, strict=False):
        assert (new.config, new.confirms) == (old.config, old.confirms)
        assert new.reports[: len(old.reports)] == old.reports


def test_no_trial_of_the_search_has_seen_what_confirms_it(confirmed: tuple[Bench, list[TrialRecord], Done]) -> None:
    bench, _, _ = confirmed
    for record in bench.records("c"):
        seen = [report for report in record.reports if "confirm" in report]
        assert (len(seen) == 1) == (record.confirms is not None)


def test_the_claim_is_told_and_what_it_rests_on(confirmed: tuple[Bench, list[TrialRecord], Done]) -> None:
    bench, _, done = confirmed
    shown = bench.run("reports.leaderboard", "runs/c", "--json")
    table = json.loads(shown.out)["confirmed"]
    assert {row["trial"] for row in table["rows"]} >= {None}
    assert len(table["rows"]) == NUM_BEST + 1
    assert all(len(row["trainings"]) == NUM_SEEDS for row in table["rows"])
    claim = table["claim"]
    assert f"{claim[0].upper()}{claim[1:]}." in done.out
    assert ("found nothing better" in claim) == (table["rows"][0]["gain_interval"][0] <= 0)
    for heading in ("score_search", "score_confirm", "shrinkage", "P(best)"):
        assert heading in done.out


def test_a_training_of_the_winner_is_exported(confirmed: tuple[Bench, list[TrialRecord], Done]) -> None:
    bench, _, _ = confirmed
    records = bench.records("c")
    winner = json.loads(bench.run("reports.leaderboard", "runs/c", "--json").out)["confirmed"]["rows"][0]
    metrics = json.loads((bench.folder / "runs" / "c" / "best" / "metrics.json").read_text())
    assert metrics["trial"] == max(winner["trainings"], key=lambda number: records[number].score or 0.0)


def test_it_is_said_before_that_it_will_be_done(confirmed: tuple[Bench, list[TrialRecord], Done]) -> None:
    _, _, done = confirmed
    assert f"then the best {NUM_BEST} and the config that all start from are trained again, {NUM_SEEDS} seeds each" in done.out


def test_mistakes_are_told_before_anything_starts(confirmed: tuple[Bench, list[TrialRecord], Done]) -> None:
    bench, _, _ = confirmed
    wrong = [
        (["--confirm", "-1"], "--confirm: input should be greater than or equal to 0"),
        (["--set", "data.confirm_share=0.95"], "data.confirm_share"),
        (["--set", "score_confirm=true"], "--set score_confirm: the search sets it; use --confirm K"),
        (["--study", "best_fit.pooling", "--confirm", "2"], "--confirm: a study"),
    ]
    for args, told in wrong:
        done = bench.run("tuner.search", "--data", bench.data, *args, "--out", "runs/never")
        assert done.code == 2
        assert told in done.err, done.err
    assert not (bench.folder / "runs" / "never").exists()
