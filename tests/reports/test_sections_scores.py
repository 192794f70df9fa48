from dataclasses import replace
from pathlib import Path

from reports import sections_scores as scores
from reports.confirmed import ConfirmedRow, ConfirmedTable
from reports.leaderboard import leaderboard_of, plain
from reports.page import Figures, Paragraph, Section, TablePart
from reports.search import Search
from tests import synthetic
from tuner.records import Confirms


def search(num_trials: int, claim: str = "") -> Search:
    records = synthetic.records(num_trials)
    board = leaderboard_of(synthetic.HEADER, records)
    if claim:
        row = ConfirmedRow(board.best_trial, 0.75, 0.70, 0.01, (0.68, 0.73), 0.02, (0.01, 0.04), 0.9, 0.05, (90, 91))
        board = replace(board, confirmed=ConfirmedTable((row,), claim, ("trial 5: 1 of 3 trainings failed",)))
    return Search(Path("night"), synthetic.HEADER, records, board)


def texts(section: Section) -> list[str]:
    return [part.text for part in section.parts if isinstance(part, Paragraph)]


def test_a_winner_that_was_confirmed_is_claimed_in_the_words_of_the_claim() -> None:
    found = scores.winner(search(20, "trial 3 is better: 0.7000"))
    assert texts(found)[:2] == ["Trial 3 is better: 0.7000.", "trial 5: 1 of 3 trainings failed"]


def test_one_that_was_not_is_called_lucky() -> None:
    found = search(20)
    assert "Not confirmed" in texts(scores.winner(found))[0]
    assert f"Trial {found.board.best_trial}: score {found.board.rows[0].score:.4f}" in texts(scores.winner(found))[1]


def test_intervals_stand_above_the_leaderboard_where_there_are_some() -> None:
    figure, confirmed, trials = scores.leaderboard(search(20, "x")).parts
    assert isinstance(figure, Figures)
    assert isinstance(confirmed, TablePart)
    assert isinstance(trials, TablePart)
    assert confirmed.columns[0].name == "confirmed"
    assert len(trials.columns[0].cells) == 20
    assert len(scores.leaderboard(search(20)).parts) == 1


def test_of_many_trials_the_best_are_listed_and_the_others_counted() -> None:
    [trials] = scores.leaderboard(search(scores.MOST_ROWS + 7)).parts
    assert isinstance(trials, TablePart)
    assert len(trials.columns[0].cells) == scores.MOST_ROWS
    assert "; 7 more: " in trials.caption


def test_the_page_says_what_scores_are_of_as_the_terminal_does() -> None:
    header, records = synthetic.confirmed(20)
    found = Search(Path("night"), header, records, leaderboard_of(header, records))
    of = "25% of the search part of dev"
    early = f"Without its full budget, a trial's score is of {of}: it does not compare with one of all of it."
    kept = "Trials are scored on the search part, 60% of dev; the rest is kept back."
    assert texts(scores.leaderboard(found)) == [early, kept]
    assert early in plain(found.board).splitlines()
    assert kept in plain(found.board).splitlines()
    assert kept in texts(scores.winner(found))
    assert early not in texts(scores.winner(found))
    begun = [replace(record, state="stopped", reports=record.reports[:1]) for record in records[:20]]
    assert early in texts(scores.winner(replace(found, records=begun, board=leaderboard_of(header, begun))))


def test_each_training_is_named_beside_the_config_that_it_trains_again() -> None:
    header, records = synthetic.confirmed(20)
    found = Search(Path("night"), header, records, leaderboard_of(header, records))
    [table] = [p for p in scores.leaderboard(found).parts if isinstance(p, TablePart) and p.columns[0].name == "confirmed"]
    assert found.board.confirmed is not None
    of = {row.trial: row.trainings for row in found.board.confirmed.rows}
    assert table.columns[-1].cells == tuple(",".join(map(str, of[row.trial])) for row in found.board.confirmed.rows)
    assert sorted(number for numbers in of.values() for number in numbers) == list(range(20, 35))
    assert all(records[number].confirms == Confirms(trial, at) for trial, own in of.items() for at, number in enumerate(own))


def test_where_no_trial_trains_every_task_there_is_no_best_and_no_front() -> None:
    found = search(20)
    partly = replace(found, records=[replace(record, config=synthetic.PARTLY) for record in found.records])
    for section in (scores.progress, scores.tasks):
        assert texts(section(partly)) == ["No trial that trains every task has had its full budget."]
        assert texts(section(search(0))) == ["No trial has had its full budget yet."]
