import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from reports.leaderboard import full_budget_examples
from tests.tuner.mirrored_search import Search, finished, three_trials
from trainables.paths import write_yaml
from tuner import search as search_command
from tuner.console import visible_lines
from tuner.mirror_note import NO_SAY, note
from tuner.prepare import prepare
from tuner.records import Confirms, TrialRecord
from tuner.search_folder import SETTINGS_FILE
from tuner.settings import SearchSettings

TEXTS = st.text("a|`<\x1b\n\u202e*_[]", min_size=1, max_size=30)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Search:
    return finished(tmp_path_factory.mktemp("work") / "runs" / "done", "done")


def note_of(search: Search, *, over: bool = True, **changes: Any) -> str:
    return note(search.ledger.header | changes, search.ledger.records(live=not over), search.folder, over=over)


def many(records: list[TrialRecord], num: int) -> list[TrialRecord]:
    return [replace(records[n % len(records)], number=n) for n in range(num)]


@given(texts=st.tuples(TEXTS, TEXTS, TEXTS), depth=st.integers(1, 360), num_tasks=st.integers(0, 60))
def test_whatever_stands_in_a_ledger_it_is_as_long_as_mlflow_takes_and_moves_no_cursor(
    texts: tuple[str, str, str], depth: int, num_tasks: int, done: Search
) -> None:
    path, source, claim = texts
    header, folder = done.ledger.header, Path("/", *(["d" * 10] * depth), path)
    header["settings"] = header["settings"] | {"study": None, "space": source * 20, "searcher": source, "trials": source}
    header["lineage"] = {"git_commit": source}
    kind = {"sentence_columns": ["s"], "label_column": "l", "target": "binary", "metric": "accuracy"}
    tasks = [{**kind, "name": f"task{n}", "title": "t", "file_stem": f"f{n}"} for n in range(num_tasks)]
    base = header["base"] | (
        {"tasks": {"tasks": tasks, "score": " + ".join(f"task{n}_accuracy" for n in range(num_tasks))}} if tasks else {}
    )
    header["base"] = base | {"data": {"source": source}}
    text = note(header, many(done.ledger.records(), 30), folder, over=True, claim=claim)
    assert len(text) <= 8000
    assert text == visible_lines(text)
    assert text.count("\n```") == 2


def test_it_shows_the_best_ten_in_the_leaderboards_order(done: Search) -> None:
    records = many(done.ledger.records(), 30)
    text = note(done.ledger.header, records, done.folder, over=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == ["\\#", "trial", "score", "sst", "qqp", "sts", "budget", "state", "seconds"]
    assert [row[:3] for row in rows[1:]] == [[str(n + 1), str(3 * n), "0.5900"] for n in range(10)]
    assert rows[1][3:] == ["0.400", "0.700", "0.500", "100%", "complete", "18"]
    assert "Best search score of 30 trials: **trial 0, score 0.5900**." in text
    assert "10 complete, 10 failed, 10 stopped" in text
    assert full_budget_examples(done.ledger.header, records) == 900


def test_a_cell_stays_in_its_cell(tmp_path: Path) -> None:
    search = three_trials(tmp_path / "s", "s")
    records = [replace(record, reason="a|b<c>") for record in search.ledger.records()]  # type: ignore[arg-type]
    [row] = [
        line for line in note(search.ledger.header, records, search.folder, over=True).splitlines() if line.startswith("| 1 |")
    ]
    assert len(re.split(r"(?<!\\)\|", row)) == 11 and r"a\|b\<c\>" in row


def test_the_claim_stands_there_or_that_there_is_none(done: Search) -> None:
    header, records = done.ledger.header, done.ledger.records()
    assert "\nClaim: not confirmed\n" in note(header, records, done.folder, over=True)
    assert "\nClaim: Better by 0.02.\n" in note(header, records, done.folder, over=True, claim="Better by 0.02.")


def test_the_winner_is_named_beside_the_best_score_of_the_search(done: Search) -> None:
    header, records = done.ledger.header, done.ledger.records()
    again = replace(records[1], confirms=Confirms(2, 1))

    def first_line(winner: TrialRecord, *, over: bool = True) -> str:
        return note(header, records, done.folder, over=over, winner=winner).splitlines()[0]

    best = "Best search score of 3 trials: **trial 0, score 0.5900**"
    assert first_line(records[0]) == f"{best}; winner: **trial 0**."
    assert first_line(again) == f"{best}; winner: **trial 1**, trial 2's config trained again with the new seed 2."
    assert first_line(again, over=False) == f"{best}."


def test_while_a_search_runs_it_changes_with_an_ended_trial_alone(tmp_path: Path) -> None:
    search = Search(tmp_path / "s", "s")
    texts = [note_of(search, over=False)]
    search.ask(2)
    texts.append(note_of(search, over=False))
    search.report(0, 1, 2)
    texts.append(note_of(search, over=False))
    assert len(set(texts)) == 1 and texts[0].startswith("No trial has a score yet.")
    search.ledger.tell(0, "stopped")
    told = note_of(search, over=False)
    assert told.startswith("Best search score of 1 trials: **trial 0, score 0.5200**, without its full budget.")
    search.report(1, 1)
    assert note_of(search, over=False) == told
    assert "1 interrupted, 1 stopped" in note_of(search)


def test_the_winner_is_trained_again_once_it_is_exported(tmp_path: Path) -> None:
    search = three_trials(tmp_path / "s", "s")
    command = 'python -m trainables.train --config "$DIR"/best/config.yaml'
    assert command not in note_of(search)
    (search.folder / "best").mkdir()
    (search.folder / "best" / "config.yaml").write_text("seed: 1\n")
    assert command in note_of(search)
    assert command not in note_of(search, over=False)


def test_the_code_is_named_by_its_commit(done: Search) -> None:
    assert "Code: commit `c0ffee`." in note_of(done)
    assert "Code: commit `c0ffee`, and changes." in note_of(done, lineage={"git_commit": "c0ffee", "git_dirty": True})
    assert "Code:" not in note_of(done, lineage={})


OF_A_SPACE = {"searcher": "random", "early_stopping": "none", "trials": 5, "audit_share": 0.25, "confirm": 2, "confirm_seeds": 5}
OF_ALL = {"seed": 5, "cpus_per_trial": 2, "gpus_per_trial": 0.5, "concurrency": 3}
OF_ALL |= {"time_budget_seconds": 5400.5, "hang_limit_seconds": 60.0}
OF_A_STUDY = {"study": "best_fit.schedules", "seeds": 3, "rows": ["annealed", "custom"]}
VARIED: list[tuple[dict[str, Any], list[str]]] = [
    ({"space": "basics", "trials": 5, "seed": 3}, ["encoder.name=tiny", "optimizer.lr=3e-5"]),
    ({"space": "basics", **OF_A_SPACE, **OF_ALL, "reduction_factor": 4}, ["encoder.name=tiny"]),
    ({"space": "basics", "audit_share": 0.0, "confirm": 0}, ["encoder.name=tiny"]),
    ({**OF_A_STUDY, **OF_ALL}, ["encoder.name=tiny", "optimizer.lr=3e-5"]),
]


def test_its_command_is_tried_with_every_setting_that_has_a_say() -> None:
    varied = {
        key
        for settings, _ in VARIED
        for key, value in settings.items()
        if value != SearchSettings.model_fields[key].default and key not in NO_SAY
    }
    assert varied | set(NO_SAY) == set(SearchSettings.model_fields)


@pytest.mark.parametrize(("settings", "set_texts"), VARIED)
def test_its_command_begins_the_same_search(settings: dict[str, Any], set_texts: list[str], tmp_path: Path) -> None:
    plan = prepare(settings, set_texts=[*set_texts, "budget_examples=900"])
    folder = tmp_path / "it's here"
    folder.mkdir()
    write_yaml(plan.for_people(), folder / SETTINGS_FILE)
    text = note({**plan.header(), "name": "x"}, [], folder, over=True)
    [there] = [line.removeprefix("DIR=") for line in text.splitlines() if line.startswith("DIR=")]
    assert shlex.split(there) == [str(folder)]
    [command] = [line for line in text.splitlines() if line.startswith("python -m tuner.search ")]
    args = [arg.replace("$DIR", str(folder)) for arg in shlex.split(command)][3:]
    done = CliRunner().invoke(search_command.app, [*args, "--print-config"])
    assert done.exit_code == 0, done.output
    again, before = yaml.safe_load(done.stdout), plan.for_people()
    again["settings"]["space"] = before["settings"]["space"]
    assert again == yaml.safe_load(yaml.safe_dump(before))
