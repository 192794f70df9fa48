"""MLflow's pages of a search as a person uses them: sorted by score, three trials chosen, compared; in Debian's chromium."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.end_to_end.conftest import Bench
from tests.s3_server import free_port
from tuner.mirror_runs import clean_name
from tuner.records import TrialRecord
from tuner.tracking_server import server_command, server_environment

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.ui,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium (make debian)"),
]
START_SECONDS = 180.0
PAGE_MS = 60_000
NUM_TRIALS = 6
NAME = "sentence-bert"


@pytest.fixture(scope="module")
def bench(make_bench: Callable[[str], Bench]) -> Bench:
    return make_bench("ui")


@pytest.fixture(scope="module")
def server(bench: Bench) -> Iterator[str]:
    """Address of a server as we start it (`tuner.tracking_server`), with a store of its own."""
    folder, port = bench.folder / "server", free_port()
    folder.mkdir()
    command = server_command(f"sqlite:///{folder / 'mlflow.db'}", folder / "mlartifacts", port)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=server_environment(bench.environment), stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + START_SECONDS
        while not _is_up(address):
            assert process.poll() is None and time.monotonic() < until, (folder / "server.log").read_text()
            time.sleep(0.5)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_up(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@pytest.fixture(scope="module")
def records(bench: Bench, server: str) -> list[TrialRecord]:
    """The trials of a search that was mirrored to the server, and whose winner was registered."""
    args = ["--budget", "900", "--trials", str(NUM_TRIALS), "--out", "runs/night1", "--seed", "3"]
    done = bench.search(*args, "--tracking-uri", server, "--register", NAME)
    assert done.code == 0, done.err
    assert f"registered as {NAME}, version 1" in done.out
    return bench.records("night1")


@pytest.fixture(scope="module")
def page(server: str, records: list[TrialRecord]) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(PAGE_MS)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def experiment(server: str) -> str:
    """The id of the experiment that searches are shown in."""
    return str(ask(server, "experiments/get-by-name?experiment_name=tritune")["experiment"]["experiment_id"])


def ask(server: str, path: str) -> Any:
    """What MLflow's API answers."""
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/{path}", timeout=30) as answer:
        return json.loads(answer.read())


def by_last_score(records: list[TrialRecord]) -> list[TrialRecord]:
    """As MLflow sorts runs by a metric: by its last point, the highest first."""
    return sorted(records, key=lambda record: -record.reports[-1]["score"])


def differing(records: list[TrialRecord]) -> set[str]:
    """Parameters that are not the same in all of some trials, by MLflow's names; one that plays no part in a trial is absent."""
    given = [{**record.assignment, "seed": record.config["seed"]} for record in records]
    return {clean_name(path) for values in given for path in values if len({repr(one.get(path)) for one in given}) > 1}


def trial_names(records: list[TrialRecord]) -> list[str]:
    return [f"trial-{record.number:04d}" for record in records]


def shown_trials(page: Any) -> list[str]:
    """Names of trials in the table of runs, from top to bottom."""
    links = page.get_by_role("link", name=re.compile(r"^trial-\d{4}$"))
    placed = [(link.bounding_box()["y"], link.inner_text()) for link in links.all()]
    return [name for _, name in sorted(placed)]


@pytest.fixture(scope="module")
def compared(page: Any, server: str, experiment: str, records: list[TrialRecord]) -> list[TrialRecord]:
    """The three best, which were chosen in the sorted table; the page is MLflow's Compare of them."""
    from playwright.sync_api import expect

    page.goto(f"{server}/#/experiments/{experiment}/runs")
    page.get_by_role("button", name="Close", exact=True).click()  # the assistant, which takes a quarter of the width
    page.get_by_test_id("sort-select-dropdown").click()  # the highest first, unless told otherwise
    page.get_by_role("menuitemcheckbox", name="score", exact=True).click()
    ordered = by_last_score(records)
    until = time.monotonic() + PAGE_MS / 1000
    while shown_trials(page) != trial_names(ordered):
        assert time.monotonic() < until, shown_trials(page)
        time.sleep(0.5)
    for name in trial_names(ordered[:3]):
        page.get_by_role("row").filter(has_text=name).get_by_role("checkbox").check()
    page.get_by_test_id("runs-compare-button").click()
    expect(page.get_by_text("Comparing 3 Runs from 1 Experiment")).to_be_visible()
    return ordered[:3]


def test_the_compare_page_shows_the_parameters_that_differ_and_no_others(
    page: Any, compared: list[TrialRecord], pytestconfig: pytest.Config
) -> None:
    page.get_by_role("switch", name="Parameters - Show diff only").click()
    table = page.get_by_role("table").filter(has=page.get_by_role("rowheader", name="seed", exact=True))
    rows = {row.get_by_role("rowheader").inner_text(): row for row in table.get_by_role("row").all()}
    assert set(rows) == differing(compared)
    assert rows["seed"].get_by_role("cell").all_inner_texts() == [str(record.config["seed"]) for record in compared]
    for name in trial_names(compared):
        assert page.get_by_role("cell", name=name, exact=True).is_visible()
    if file := pytestconfig.getoption("--screenshot"):
        page.screenshot(path=file)


def test_from_there_the_score_leads_to_the_curves(page: Any, compared: list[TrialRecord]) -> None:
    page.get_by_role("link", name="score", exact=True).click()
    page.locator(".js-plotly-plot").first.wait_for()
    drawn = page.evaluate(
        "Array.from(document.querySelector('.js-plotly-plot').data, t => [t.name, Array.from(t.x), Array.from(t.y)])"
    )
    curves = {name: list(zip(x, y, strict=True)) for name, x, y in drawn}
    assert curves == {
        name: [(report["budget"], report["score"]) for report in record.reports]
        for name, record in zip(trial_names(compared), compared, strict=True)
    }
