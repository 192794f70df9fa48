from pathlib import Path
from typing import Any

import pytest

from reports import sections_checks as checks
from reports.leaderboard import leaderboard_of
from reports.page import Paragraph, Section, TablePart
from reports.search import Search
from tests import synthetic
from tests.reports.an_export import an_export
from tuner.records import TrialRecord

FULL = synthetic.NUM_REPORTS


def trial(number: int, score: float, state: Any = "complete", num_reports: int = FULL, **more: Any) -> TrialRecord:
    reports = tuple(
        {"report": at, "budget": at * synthetic.STEP, "score": score, "train_seconds": 1.0} for at in range(1, num_reports + 1)
    )
    return TrialRecord(number, state, {}, {}, reports, **more)


def audited(*records: TrialRecord) -> Section:
    header = {**synthetic.HEADER, "settings": {"confirm": 4}}
    return checks.audit(Search(Path("night"), header, records, leaderboard_of(header, records)))


def texts(section: Section) -> list[str]:
    return [part.text for part in section.parts if isinstance(part, Paragraph)]


@pytest.mark.parametrize(("score", "num_missed"), [(0.3, 0), (0.65, 0), (0.9, 1)])
def test_of_a_default_search_it_says_how_few_had_their_full_budget(score: float, num_missed: int) -> None:
    others = [trial(number, 0.5 + number / 10) for number in range(3)]
    assert texts(audited(*others, trial(3, score, audited=1)))[-1] == (
        f"Early stopping would have missed {num_missed} of 1 audited trials: those that scored above the best of the trials that "
        "were not audited (only 3 trials had the full budget)."
    )


def test_of_a_larger_one_it_compares_with_the_last_that_would_be_confirmed() -> None:
    others = [trial(number, 0.5 + number / 10) for number in range(5)]
    found = texts(audited(*others, trial(5, 0.65, audited=1), trial(6, 0.55, audited=1), trial(7, 0.99, "failed", 2, audited=1)))
    assert found[-1] == (
        "Early stopping would have missed 1 of 2 audited trials: those that scored above number 4 of the trials that were not "
        "audited. Not counted, for want of their full budget: 1 failed."
    )


@pytest.mark.parametrize("state", ["failed", "running"])
def test_where_no_audited_trial_came_to_its_end_nothing_is_counted(state: str) -> None:
    found = audited(trial(0, 0.5), trial(1, 0.6, state, 2, audited=1))
    said = f"No audited trial has had its full budget (1 {state}), so nothing tells what was missed."
    assert texts(found)[-1] == said
    table = found.parts[-1]
    assert isinstance(table, TablePart)
    assert [column.cells for column in table.columns] == [("1",), ("1",), ("-",), ("-",), (state,)]


def test_where_only_the_audited_came_to_their_end_there_is_nothing_to_compare_with() -> None:
    found = audited(trial(0, 0.5, "stopped", 1), trial(1, 0.6, audited=1))
    assert texts(found)[-1] == "No other trial has had its full budget, so nothing tells whether an audited one was missed."


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        (3, "The exported model is that of trial 3."),
        (20, "The exported model is that of trial 20, which trains the reference config again with a new seed."),
        (21, "The exported model is that of trial 21, which trains trial {}'s config again with a new seed."),
        (99, "The exported model is that of trial 99."),
    ],
)
def test_an_exported_training_is_told_with_the_config_that_it_trains(tmp_path: Path, trial: int, said: str) -> None:
    header, records = synthetic.confirmed(20)
    an_export(tmp_path, trial=trial)
    found = checks.mistakes(Search(tmp_path, header, records, leaderboard_of(header, records)))
    best = records[21].confirms
    assert best is not None
    assert texts(found)[0] == said.format(best.trial)
