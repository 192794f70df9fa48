import contextlib
import math
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from search_spaces.domains import Float
from search_spaces.space import Dimension, Space, trial_seed
from search_spaces.studies.leaderboard import SPACE
from trainables.config import TrialConfig
from tuner.ledger import Ledger
from tuner.ledger_places import LEDGER_FILE, LedgerError
from tuner.samplers import make_sampler

Ask = Callable[..., int]


def reopened(folder: Path) -> Ledger:
    return Ledger.open(folder)


def optuna_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(storage=f"sqlite:///{folder / LEDGER_FILE}", study_name="tritune").trials


def test_what_was_asked_reported_and_told_stands_for_whoever_opens_it_next(
    toy: Any, ledger: Ledger, ask: Ask, tmp_path: Path
) -> None:
    for ending in ("complete", "stopped", "failed", None):
        number = ask(ledger)
        assert ledger.report(number, toy.report(1, 0.5))
        assert ledger.report(number, toy.report(2, 0.4))
        ledger.pass_rung(number, 1)
        if ending:
            assert ledger.tell(number, ending, "diverged" if ending == "failed" else "", "a line" if ending == "failed" else "")
    records = reopened(tmp_path / "search").records()
    assert records == ledger.records()
    assert [record.state for record in records] == ["complete", "stopped", "failed", "running"]
    assert [(record.reason, record.detail) for record in records] == [("", ""), ("", ""), ("diverged", "a line"), ("", "")]
    for record in records:
        assert [dict(report) for report in record.reports] == [toy.report(1, 0.5), toy.report(2, 0.4)]
        assert (record.score, record.budget_used, record.train_seconds) == (0.5, 200, 4.0)
        assert record.passed_rungs == {1}
        assert record.lineage == {"seed": 7}
        assert TrialConfig.parse(record.config) == toy.base.override({**record.assignment, "seed": trial_seed(7, record.number)})


def test_optuna_learns_what_happened(toy: Any, ledger: Ledger, ask: Ask, tmp_path: Path) -> None:
    for ending in ("complete", "stopped", "failed"):
        number = ask(ledger)
        for index, score in enumerate((0.3, 0.6, 0.5), start=1):
            ledger.report(number, toy.report(index, score))
        ledger.tell(number, ending)
    trials = optuna_trials(tmp_path / "search")
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert trials[0].value == 0.6  # the best report, whose weights are kept
    assert trials[1].value == 0.5
    assert trials[2].value is None
    assert all(trial.intermediate_values == {100: 0.3, 200: 0.6, 300: 0.5} for trial in trials)


def test_a_report_of_the_same_budget_counts_once(toy: Any, ledger: Ledger, ask: Ask, tmp_path: Path) -> None:
    number = ask(ledger)
    assert ledger.report(number, toy.report(1, 0.5))
    assert not ledger.report(number, toy.report(1, 0.9))
    assert not reopened(tmp_path / "search").report(number, toy.report(1, 0.8))
    assert [report["score"] for report in ledger.record(number).reports] == [0.5]


@pytest.mark.parametrize("first", ["complete", "stopped", "failed"])
def test_the_first_ending_stands_and_nothing_is_left_running(
    first: Any, toy: Any, ledger: Ledger, ask: Ask, tmp_path: Path
) -> None:
    number = ask(ledger)
    ledger.report(number, toy.report(1, 0.5))
    assert ledger.tell(number, first, "error" if first == "failed" else "")
    told = ledger.record(number)
    for again in (ledger, reopened(tmp_path / "search")):
        assert not again.tell(number, "failed", "lost", "later")
        assert again.record(number) == told
    assert all(trial.state.is_finished() for trial in optuna_trials(tmp_path / "search"))


def test_without_a_report_no_trial_is_complete(ledger: Ledger, ask: Ask) -> None:
    number = ask(ledger)
    ledger.tell(number, "complete")
    record = ledger.record(number)
    assert (record.state, record.reason, record.detail) == ("failed", "lost", "ended without a report")
    assert record.score is None and record.budget_used == 0 and record.train_seconds == 0


def test_a_nan_that_was_written_is_never_the_result(toy: Any, ledger: Ledger, ask: Ask, tmp_path: Path) -> None:
    for ending in ("complete", "failed"):
        number = ask(ledger)
        ledger.report(number, toy.report(1, math.nan))
        ledger.report(number, toy.report(2, 0.25))
        ledger.tell(number, ending)
    records = reopened(tmp_path / "search").records()
    assert [record.score for record in records] == [0.25, 0.25]
    assert all(trial.state.is_finished() for trial in optuna_trials(tmp_path / "search"))


def test_what_runs_with_nobody_at_work_was_interrupted(toy: Any, ledger: Ledger, ask: Ask) -> None:
    numbers = [ask(ledger) for _ in range(2)]
    ledger.report(numbers[0], toy.report(1, 0.5))
    ledger.tell(numbers[0], "stopped")
    assert [record.state for record in ledger.records()] == ["stopped", "running"]
    assert [record.state for record in ledger.records(live=False)] == ["stopped", "interrupted"]


def test_an_ask_that_is_killed_before_its_commit_was_never_asked(toy: Any) -> None:
    study = toy.new_study()
    with toy.killed_before_write(0):
        Ledger(study).ask(toy.space, toy.base, RandomSampler(seed=3), {"seed": 7})
    assert Ledger(study).records() == []
    record = Ledger(study).ask(toy.space, toy.base, RandomSampler(seed=3), {"seed": 7})
    assert Ledger(study).records() == [record] and record.config


def test_what_an_older_driver_wrote_before_it_was_killed_is_replaced(toy: Any, ledger: Ledger, ask: Ask, tmp_path: Path) -> None:
    number = ask(ledger)
    [trial] = ledger._study.get_trials(deepcopy=False)
    for key, value in (("reason", ["error", "its worker died"]), ("report:000000100", toy.report(1, 0.1))):
        ledger._study._storage.set_trial_user_attr(trial._trial_id, key, value)
    later = reopened(tmp_path / "search")
    assert later.report(number, toy.report(1, 0.75)) and later.tell(number, "complete")
    assert reopened(tmp_path / "search").records() == later.records()
    assert (later.record(number).score, later.record(number).reason) == (0.75, "")


@pytest.mark.parametrize("num_drawn", [0, 1, 2])
@pytest.mark.parametrize("point", [None, {"optimizer.lr": 1e-4, "heads.*.kind": "mlp", "heads.*.hidden_size": 32}])
def test_an_ask_of_an_older_ledger_cut_short_is_completed_with_what_was_drawn(
    num_drawn: int, point: dict[str, Any] | None, toy: Any
) -> None:
    study, attributes = toy.new_study(), {"seed": 7}
    if point:
        study.enqueue_trial(point)
    trial = study.ask()
    suggest = (lambda: trial.suggest_float("optimizer.lr", 1e-5, 1e-3, log=True),)
    suggest += (lambda: trial.suggest_categorical("heads.*.kind", ("linear", "mlp")),)
    drawn = dict(zip(("optimizer.lr", "heads.*.kind"), [draw() for draw in suggest[:num_drawn]], strict=False))
    ledger = Ledger(study)
    [cut_short] = ledger.records()
    assert (cut_short.state, cut_short.config) == ("running", {})
    whole = ledger.complete_ask(0, toy.space, toy.base, RandomSampler(seed=4), attributes)
    assert drawn.items() <= whole.assignment.items()
    assert point is None or whole.assignment == point
    assert Ledger(study).records() == [whole] and whole.lineage == attributes
    assert TrialConfig.parse(whole.config) == toy.base.override({**whole.assignment, "seed": trial_seed(7, 0)})
    assert ledger.report(0, toy.report(1, 0.5)) and ledger.tell(0, "complete")


def test_what_is_written_is_what_is_known(toy: Any) -> None:
    study = toy.new_study()
    ledger = Ledger(study)
    ledger.enqueue([{"optimizer.lr": 1e-4, "heads.*.kind": "linear"}])
    for number, ending in enumerate(("complete", "stopped", "failed", None, "complete")):
        ledger.ask(toy.space, toy.base, RandomSampler(seed=number), {"seed": 7, "lineage": ("a", 1)})
        assert Ledger(study).records() == ledger.records()
        for index, score in enumerate((0.5, math.inf, 0.25), start=1):
            ledger.report(number, toy.report(index, score))
            assert Ledger(study).records() == ledger.records()
        ledger.pass_rung(number, 1)
        if ending:
            ledger.tell(number, ending)
        assert Ledger(study).records() == ledger.records()


def test_points_in_the_queue_are_asked_first_in_order_and_once(toy: Any, ledger: Ledger, ask: Ask, tmp_path: Path) -> None:
    points = [{"optimizer.lr": lr, "heads.*.kind": "linear"} for lr in (1e-3, 1e-4, 1e-5)]
    ledger.enqueue(points[:2])
    assert ledger.records() == []
    ask(ledger)
    again = reopened(tmp_path / "search")
    again.enqueue(points)
    for _ in range(3):
        ask(again)
    assert [record.assignment for record in again.records()][:3] == points
    assert len(again.records()) == 4 and again.records()[3].assignment not in points


def test_an_ask_that_stands_is_asked_by_the_sampler_it_was_given(toy: Any) -> None:
    def draws(study: optuna.Study) -> list[Any]:
        ledger, out = Ledger(study), []
        for number in range(8):
            record = ledger.ask(toy.space, toy.base, make_sampler("tpe", 5, number), {"seed": 5})
            ledger.report(number, toy.report(1, record.assignment["optimizer.lr"]))
            ledger.tell(number, "complete")
            out.append(record.assignment)
        return out

    assert draws(toy.new_study()) == draws(toy.new_study())


@pytest.mark.parametrize("searcher", ["tpe", "random"])
@pytest.mark.parametrize("bounds", [(1e-6, 1e-2), (5e-5, 1e-4)])
def test_a_search_goes_on_over_other_bounds(searcher: str, bounds: tuple[float, float], toy: Any) -> None:
    study = toy.new_study()
    changed = Space("toy", (Dimension("optimizer.lr", Float(*bounds, log=True)), *toy.space.dimensions[1:]))
    for number in range(12):
        space = toy.space if number < 8 else changed
        record = Ledger(study).ask(space, toy.base, make_sampler(searcher, 1, number), {"seed": 1})
        Ledger(study).report(number, toy.report(1, record.assignment["optimizer.lr"]))
        Ledger(study).tell(number, "complete")
    later = [record.assignment["optimizer.lr"] for record in Ledger(study).records()[8:]]
    assert all(bounds[0] <= lr <= bounds[1] for lr in later)


def test_seeds_differ_from_trial_to_trial_and_from_search_to_search() -> None:
    seeds = {trial_seed(search, number) for search in range(20) for number in range(50)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert trial_seed(2**31 - 1, 10**6) < 2**31
    assert trial_seed(3, 4) == 3_000_013


def test_the_header_stands_and_can_be_replaced(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path, {"name": "one", "rungs": [1, 3], "ended": None})
    ledger.set_header("ended", "complete")
    assert reopened(tmp_path).header == {"name": "one", "rungs": [1, 3], "ended": "complete"}


def test_readers_need_not_wait_for_the_writer(ledger: Ledger, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "search" / LEDGER_FILE)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_second_search_cannot_be_made_over_the_first(ledger: Ledger, ask: Ask, tmp_path: Path) -> None:
    ask(ledger)
    with pytest.raises(LedgerError, match="a search stands here already"):
        Ledger.create(tmp_path / "search", {})
    assert len(reopened(tmp_path / "search").records()) == 1


def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / LEDGER_FILE)) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    before = (tmp_path / LEDGER_FILE).read_bytes()
    with pytest.raises(LedgerError, match="no ledger that can be read"):
        Ledger.open(tmp_path)
    assert (tmp_path / LEDGER_FILE).read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 100])
def test_a_folder_without_a_ledger_is_named(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / LEDGER_FILE).write_bytes(content)
    message = "no search stands here" if content is None else "no ledger that can be read"
    with pytest.raises(LedgerError, match=message) as caught:
        Ledger.open(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert content is None or (tmp_path / LEDGER_FILE).read_bytes() == content


WRITER = """
import sys
from pathlib import Path
from optuna.samplers import RandomSampler
from search_spaces.studies.leaderboard import SPACE
from trainables.config import TrialConfig
from tuner.ledger import Ledger

ledger, base = Ledger.open(Path(sys.argv[1])), TrialConfig()
while True:
    number = ledger.ask(SPACE, base, RandomSampler(), {"seed": 1}).number
    print("ask", number, flush=True)
    for index in (1, 2):
        ledger.report(number, {"report": index, "budget": index * 10, "score": number / 1000, "train_seconds": 1.0})
        print("report", number, index * 10, flush=True)
    ledger.tell(number, "complete")
    print("tell", number, flush=True)
"""


def test_kill_9_in_mid_write_loses_nothing_that_was_acknowledged(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    acknowledged: list[list[str]] = []
    for num_lines in (11, 16):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(num_lines)]
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.readlines()
        acknowledged += [line.split() for line in lines if line.endswith("\n")]
    records = reopened(folder).records()
    assert len(acknowledged) >= 27
    for event, number, *budget in acknowledged:
        record = records[int(number)]
        assert record.config if event == "ask" else True
        assert event != "tell" or (record.state == "complete" and len(record.reports) == 2)
        assert event != "report" or int(budget[0]) in [report["budget"] for report in record.reports]
    told = [number for event, number, *_ in acknowledged if event == "tell"]
    assert len(told) == len(set(told))
    for record in records:  # and the rest can be taken up
        if not record.config:
            reopened(folder).complete_ask(record.number, SPACE, TrialConfig(), RandomSampler(), {"seed": 1})
        reopened(folder).tell(record.number, "failed", "lost")
    assert all(record.state != "running" for record in reopened(folder).records())


@pytest.mark.parametrize("name", ["a?b", "a%41b", "a#b", "a{b}", "a b@+&;ü"])
def test_a_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    Ledger.create(folder, {"name": name})
    assert reopened(folder).header == {"name": name}
    assert [path.name for path in tmp_path.iterdir()] == [name] and (folder / LEDGER_FILE).is_file()


@pytest.mark.parametrize("searcher", ["tpe", "random"])
def test_a_search_goes_on_over_more_dimensions(searcher: str, toy: Any, tmp_path: Path) -> None:
    ledger = toy.new_ledger(tmp_path / "search")
    more = Space("more", (*toy.space.dimensions, Dimension("encoder.dropout", Float(0.05, 0.2))))
    for number in range(14):
        space = toy.space if number < 8 else more
        assert ledger.ask(space, toy.base, make_sampler(searcher, 7, number), {"seed": 7}).number == number
        ledger.report(number, toy.report(1, number / 20))
        ledger.tell(number, "complete")
    values = [record.assignment.get("encoder.dropout") for record in ledger.records()]
    assert values[:8] == [None] * 8
    assert all(value is not None and 0.05 <= value <= 0.2 for value in values[8:]) and len(set(values[8:])) == 6
