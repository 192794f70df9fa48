"""The check of the ledger finds what it is there to find; the scorecard says what came of it."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.faults.ledger_check import LEDGER, Event, Observer, differences, invented, problems_of, read_events, read_log

_TABLES = """
CREATE TABLE trials (trial_id INTEGER PRIMARY KEY, number INTEGER, state TEXT);
CREATE TABLE trial_user_attributes (trial_id INTEGER, key TEXT, value_json TEXT);
CREATE TABLE trial_intermediate_values (trial_id INTEGER, step INTEGER, intermediate_value REAL);
"""


@pytest.fixture
def search(tmp_path: Path) -> Path:
    """Two trials of one report each, one complete and one stopped, with their logs."""
    with sqlite3.connect(tmp_path / LEDGER) as connection:
        connection.executescript(_TABLES)
        for number, state in enumerate(("COMPLETE", "PRUNED")):
            report = {"report": 1, "budget": 100, "examples": 128, "score": 0.5 + number / 10}
            connection.execute("INSERT INTO trials VALUES (?, ?, ?)", (number + 1, number, state))
            for key, value in {"config": {"seed": number}, "report:000000100": report, "reason": ["", ""]}.items():
                connection.execute("INSERT INTO trial_user_attributes VALUES (?, ?, ?)", (number + 1, key, json.dumps(value)))
            connection.execute("INSERT INTO trial_intermediate_values VALUES (?, 100, ?)", (number + 1, report["score"]))
            log = tmp_path / "trials" / f"{number:04d}" / "log.txt"
            log.parent.mkdir(parents=True)
            log.write_text(f"2026-11-22T22:30:45Z report 1/9: 128 examples, score {report['score']:.4f} (sst 0.2), loss 4.5\n")
    connection.close()
    return tmp_path


def change(search: Path, statement: str) -> None:
    with sqlite3.connect(search / LEDGER) as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()


def test_a_whole_search_has_no_problem(search: Path) -> None:
    seen, twice = read_events(search / LEDGER)
    assert twice == []
    assert problems_of(search, seen, 2) == []


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM trial_user_attributes WHERE key LIKE 'report:%' AND trial_id = 1", "is gone"),
        ("UPDATE trial_user_attributes SET value_json = '{}' WHERE key = 'config' AND trial_id = 2", 'was {"seed": 1} and is {}'),
        (
            "UPDATE trial_user_attributes SET value_json = json_set(value_json, '$.score', 0.7) "
            "WHERE key LIKE 'report:%' AND trial_id = 1",
            'was {"score": 0.5} and is {"score": 0.7}',
        ),
        ("INSERT INTO trial_user_attributes SELECT * FROM trial_user_attributes WHERE trial_id = 1", "stands there 2 times"),
        ("UPDATE trials SET state = 'RUNNING' WHERE number = 1", "trial 1 was left RUNNING"),
        ("DELETE FROM trials WHERE number = 1", "trials 0 to 1 were asked for, but the ledger holds [0]"),
        ("INSERT INTO trials VALUES (3, 2, 'COMPLETE')", "trials 0 to 1 were asked for, but the ledger holds [0, 1, 2]"),
        ("UPDATE trial_intermediate_values SET intermediate_value = 0.9", "score 100 was 0.5 and is 0.9"),
        ("INSERT INTO trial_intermediate_values VALUES (1, 200, 0.7)", "score 200 has no report"),
    ],
)
def test_what_is_lost_changed_doubled_or_left_is_found(search: Path, statement: str, found: str) -> None:
    seen, _ = read_events(search / LEDGER)
    change(search, statement)
    if "DELETE FROM trials" in statement:
        change(search, "DELETE FROM trial_user_attributes WHERE trial_id = 2")
        change(search, "DELETE FROM trial_intermediate_values WHERE trial_id = 2")
    assert any(found in problem for problem in problems_of(search, seen, 2))


@pytest.mark.parametrize(("line", "is_known"), [("", False), ("2026-11-22T22:30:45Z goes on from report-0001\n", True)])
def test_a_report_that_no_worker_knows_of_is_invented(search: Path, line: str, is_known: bool) -> None:
    (search / "trials" / "0001" / "log.txt").write_text(line)
    assert (invented(search, read_events(search / LEDGER)[0]) == []) is is_known


def test_the_observer_keeps_what_was_there_for_a_moment(search: Path) -> None:
    observer = Observer(search / LEDGER)
    observer.look()
    assert observer.num("report") == 2
    change(search, "DELETE FROM trial_user_attributes WHERE key LIKE 'report:%' AND trial_id = 1")
    observer.look()
    assert any("trial 0: report report:000000100 was acknowledged and is gone" in problem for problem in observer.problems)
    assert observer.seconds_to_first_event(0.0) is not None
    assert observer.seconds_to_first_event(max(observer.first_seen.values())) is None


def test_an_observer_of_nothing_sees_nothing(tmp_path: Path) -> None:
    with Observer(tmp_path / LEDGER) as observer:
        observer.look()
    assert (observer.seen, observer.problems) == ({}, [])


def test_reports_that_were_trained_twice_are_counted(search: Path) -> None:
    log = search / "trials" / "0000" / "log.txt"
    log.write_text(log.read_text() * 2)
    assert read_log(search, 0).num_redone == 1


def test_differences_are_of_what_was_seen_alone() -> None:
    one, other = Event("ask", 0, "config"), Event("ask", 1, "config")
    assert differences({one: "1"}, {one: "1", other: "2"}) == []
