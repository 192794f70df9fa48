import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from optuna.samplers import RandomSampler
from typer.testing import CliRunner

from reports import build
from reports.build import app, build_report, problems_of_out
from reports.page import page
from search_spaces.studies.leaderboard import SPACE
from tests import synthetic
from trainables.config import TrialConfig
from trainables.parts import ConfigError
from tuner.ledger import Ledger
from tuner.search_folder import trial_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "night"
    where.mkdir()
    Ledger.create(where, {**synthetic.HEADER, "ended": None})
    return where


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "plotly_js", lambda: "var Plotly;")


def test_it_writes_a_page_and_says_where_and_writes_over_its_own(folder: Path) -> None:
    for _ in range(2):
        done = CliRunner().invoke(app, [str(folder)])
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith(str(folder / "report.html"))
    first = (folder / "report.html").read_bytes()
    build_report(folder)
    assert (folder / "report.html").read_bytes() == first


def test_links_lead_from_where_the_page_lies(folder: Path, tmp_path: Path) -> None:
    ledger = Ledger.open(folder)
    number = ledger.ask(SPACE, TrialConfig(), RandomSampler(seed=1), {"seed": 1}).number
    ledger.tell(number, "failed", "diverged", "loss is nan")
    log = trial_folder(folder, number) / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("a log")
    (tmp_path / "else where").mkdir()
    out = tmp_path / "else where/page.html"
    assert build_report(folder, out) == out
    assert not (folder / "report.html").exists()
    for page_, lead in ((out, "../night/"), (build_report(folder), "")):
        [link] = re.findall(r'href="([^#"][^"]*)"', page_.read_text())
        assert (page_.parent / unquote(link)).samefile(log)
        assert link == f"{lead}trials/{number:04d}/log.txt"


@pytest.mark.parametrize("content", ["my notes", page("t", "another search", [], "")])
def test_what_is_no_report_of_this_search_is_left_alone(folder: Path, content: str) -> None:
    file = folder / "report.html"
    file.write_text(content)
    done = CliRunner().invoke(app, [str(folder)])
    assert done.exit_code == 2
    assert "must be given" in done.stderr
    assert file.read_text() == content


def test_links_folders_and_places_that_are_not_there_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert "is a link" in problems_of_out(tmp_path / "link", "id")[0]
    assert "is no file" in problems_of_out(tmp_path, "id")[0]
    assert "no such folder" in problems_of_out(tmp_path / "a/b.html", "id")[0]
    with pytest.raises(ConfigError):
        build_report(folder, tmp_path / "link")
    assert not os.path.lexists(tmp_path / "target")


def test_the_name_of_a_search_may_hold_anything(tmp_path: Path) -> None:
    name = 'a "b" <c> & \x1b'
    file = tmp_path / "r.html"
    file.write_text(page("t", name, [], ""))
    assert problems_of_out(file, name) == []
    assert problems_of_out(file, "a") != []


def test_no_search_is_a_mistake(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
