import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports.build import all_sections
from reports.drawing import plotly_js
from reports.leaderboard import leaderboard_of
from reports.page import Drawing, Figures, Link, Paragraph, Section, TablePart, page
from reports.search import Search
from reports.sections_checks import MOST_FAILURES
from tests import synthetic
from tuner.tables import Column

ORDER = [
    *("winner", "leaderboard", "progress", "curves", "tasks", "importance", "parallel", "slices"),
    *("early-stopping", "failures", "mistakes", "conflicts", "plan", "lineage"),
]


class Page(HTMLParser):
    """What stands in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.metas: list[dict[str, Any]] = []
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.figures: list[str] = []
        self.handlers: list[str] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self._inside = tag
        self.handlers += [name for name in own if name.startswith("on")]
        self.loaded += [str(own[name]) for name in ("src", "srcset", "data", "poster", "background") if name in own]
        if tag in {"link", "iframe", "object", "embed", "base", "form"}:
            self.loaded.append(tag)
        if tag == "section":
            self.sections.append(str(own["id"]))
        if tag == "meta":
            self.metas.append(own)
        if tag == "a":
            self.links.append(str(own["href"]))
        if tag == "script":
            self.scripts.append(str(own.get("type", "code")))
        if own.get("role") == "img":
            self.figures.append(str(own["aria-label"]))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in {"script", "style"}:
            self.texts.append(data)


def search(num_trials: int, folder: Path) -> Search:
    records = synthetic.records(num_trials)
    return Search(folder, synthetic.HEADER, records, leaderboard_of(synthetic.HEADER, records))


def whole(found: Search) -> str:
    return page(found.name, found.id, all_sections(found, found.folder / "report.html"), plotly_js())


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("night")
    for number in range(1000):
        if number % 7 == 0:
            (folder / f"trials/{number:04d}").mkdir(parents=True)
            (folder / f"trials/{number:04d}/log.txt").write_text("a log")
    return whole(search(1000, folder))


def test_a_thousand_trials_stay_under_15_megabytes(night: str) -> None:
    assert len(night.encode()) < 15e6


def test_sections_come_in_their_order_each_with_its_entry(night: str) -> None:
    found = Page(night)
    assert found.sections == ORDER
    assert found.links[: len(ORDER)] == [f"#{key}" for key in ORDER]


def test_nothing_is_loaded_and_the_library_is_there_once(night: str) -> None:
    found = Page(night)
    assert found.loaded == []
    assert found.handlers == []
    assert found.scripts.count("code") == 2
    assert night.count(plotly_js()[:200]) == 1
    assert not [link for link in found.links if re.match(r"[a-z]+:|//", link)]
    failed = {record.number for record in synthetic.records(1000) if record.state == "failed"}
    logs = [f"trials/{number:04d}/log.txt" for number in sorted(failed)[:MOST_FAILURES] if number % 7 == 0]
    assert logs
    assert [link for link in found.links if not link.startswith("#")] == logs


def test_the_policy_forbids_the_network_and_all_other_code(night: str) -> None:
    [policy] = [m["content"] for m in Page(night).metas if m.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == rules["connect-src"] == "'none'"
    assert len(re.findall(r"'sha256-[\w+/=]{44}'", rules["script-src"])) == 2
    assert "unsafe" not in rules["script-src"]
    assert "http" not in policy


def test_each_figure_says_what_it_shows_and_has_its_data(night: str) -> None:
    found = Page(night)
    assert len(found.figures) >= 20
    assert all(found.figures)
    assert found.scripts.count("application/json") == len(found.figures)
    assert '"type":"scattergl"' not in night  # WebGL would need a policy that lets scripts make code


def test_what_users_wrote_is_shown_as_it_is_and_never_run(night: str) -> None:
    assert "<script>alert" not in night
    assert "night <b>1</b>" in Page(night).texts
    assert "loss is nan <script>alert(1)</script>" in Page(night).texts


def test_each_section_of_an_empty_search_says_why_it_is_empty(tmp_path: Path) -> None:
    found = Page(whole(search(0, tmp_path)))
    assert found.sections == ORDER
    assert found.figures == []
    sections = all_sections(search(0, tmp_path), tmp_path / "report.html")
    assert all(section.parts and section.sentence for section in sections)


def test_a_confirmed_search_has_a_page_that_names_its_trainings(tmp_path: Path) -> None:
    header, records = synthetic.confirmed(20)
    found = Page(whole(Search(tmp_path, header, records, leaderboard_of(header, records))))
    assert found.sections == ORDER
    assert "trained_as" in found.texts
    assert any(text.startswith("Handed over is ") for text in found.texts)


def test_all_texts_are_escaped_in_every_part() -> None:
    bad = "<img src=x onerror=alert(1)>\x1b[2J\"'&"
    parts = (
        Paragraph(bad),
        TablePart([Column(bad, (bad,))], bad, [[Link(bad, bad)]]),
        Figures([Drawing('{"data":[{"name":"</script><script>alert(1)"}]}', bad)]),
    )
    text = page(bad, bad, [Section("key", bad, bad, parts)], "var Plotly = '</script>';")
    found = Page(text)
    assert found.loaded == []
    assert found.handlers == []
    assert found.scripts == ["application/json", "code", "code"]
    assert "\x1b" not in text
    assert "\\x1b[2J" in text
