from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.commands import Ended, ProgramEntry
from benchmarks.measuring import alternate
from benchmarks.search_workload import SearchWorkload
from benchmarks.whole_search import OurSearch, PlainSearch, run_of
from search_spaces.space import Space
from trainables.config import TrialConfig
from tuner.rungs import rung_reports
from tuner.search import app

WORKLOAD = SearchWorkload()
SMALL = SearchWorkload(encoder="tiny", trials=2, budget=64, reports=2, reduction_factor=2, early_dev_share=0.05)


def ended(folder: Path) -> Ended:
    return Ended(folder, "", began=5, seconds=10, cpu_seconds=12, tree_bytes=2**30, largest_bytes=2**29)


def test_the_space_is_one() -> None:
    assert Space.read(Path(WORKLOAD.space)).problems(TrialConfig()) == []


def test_our_command_says_all_of_the_workload(tmp_path: Path) -> None:
    workload = replace(WORKLOAD, encoder="tiny", trials=7, budget=1234, seed=3, concurrency=1)
    module, *arguments = OurSearch(workload).arguments(tmp_path)[1:]
    assert module == "tuner.search"
    printed = CliRunner().invoke(app, [*arguments, "--print-config"])
    tree = yaml.safe_load(printed.stdout)
    settings, config = tree["settings"], tree["config"]
    assert [settings[key] for key in ("trials", "seed", "concurrency", "reduction_factor")] == [7, 3, 1, 3]
    assert [config[key] for key in ("budget_examples", "num_reports", "early_dev_share")] == [1234, 9, 0.25]
    assert (config["encoder"]["name"], config["optimizer"]["lr_schedule"]) == ("tiny", "linear")
    assert Space.parse(tree["space"]).dimensions == Space.read(Path(workload.space)).dimensions


def test_rungs_are_reports_1_and_3() -> None:
    assert rung_reports(WORKLOAD.reports, WORKLOAD.reduction_factor) == (1, 3)


def test_a_workload_is_read_as_it_was_written(tmp_path: Path) -> None:
    SMALL.write(tmp_path / "workload.json")
    assert SearchWorkload.read(tmp_path / "workload.json") == SMALL


def test_a_search_counts_its_trials_and_examples(tmp_path: Path) -> None:
    early, last = {"examples": 100, "score": 0.9, "dev_share": 0.25}, {"examples": 300, "score": 0.6, "dev_share": 1.0}
    run = run_of(ended(tmp_path), SMALL, [[early], [early, last]])
    assert (run.units, run.seconds, run.memory_bytes) == (2, 10, 2**29)
    assert (run.more["examples"], run.more["examples/s"], run.more["best score"]) == (400, 40, 0.6)
    assert (run.more["wall, s"], run.more["CPU, s"]) == (10, 12)
    assert run.more["all processes, MiB"] == 1024


def test_a_search_that_lacks_trials_is_no_turn(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"2 trials .* got \[0\]"):
        run_of(ended(tmp_path), SMALL, [[]])


@pytest.mark.slow
def test_both_search_for_real() -> None:
    runs = alternate({"ours": ProgramEntry(OurSearch(SMALL)), "plain": ProgramEntry(PlainSearch(SMALL))}, rounds=1, warm_ups=0)
    for [run] in runs.values():
        assert run.units == 2 and 64 < run.more["examples"] <= 128
        assert 0 < run.more["best score"] < 1
        assert 2**20 < run.memory_bytes < run.more["all processes, MiB"] * 2**20
