import time

import pytest

from benchmarks.measuring import Entry, alternate, ratios, spread


class Counting:
    """Says how often it has run, a second each."""

    def __init__(self, factor: float) -> None:
        self.factor, self.turns = factor, 0

    def run(self) -> tuple[float, float]:
        self.turns += 1
        return self.factor * self.turns, 1.0


class Failing:
    def run(self) -> tuple[float, float]:
        raise ValueError("no such encoder")


class Unable:
    def __init__(self) -> None:
        raise ValueError("no such package")


class Waiting:
    def run(self) -> tuple[float, float]:
        started = time.perf_counter()
        time.sleep(0.2)
        return 10.0, time.perf_counter() - started


def test_entries_take_turns_and_warm_ups_are_not_kept() -> None:
    runs = alternate({"one": Entry(Counting, (1.0,), 1), "three": Entry(Counting, (3.0,), 1)}, rounds=2, warm_ups=1)
    assert {name: [run.units for run in own] for name, own in runs.items()} == {"one": [2, 3], "three": [6, 9]}
    rates = {name: [run.rate for run in own] for name, own in runs.items()}
    assert ratios(rates, "three", "one").median == 3
    assert all(run.memory_bytes > 2**20 for own in runs.values() for run in own)


def test_rates_of_processes_that_run_at_once_add_up() -> None:
    [run] = alternate({"two": Entry(Waiting, (), 1, 2)}, rounds=1, warm_ups=0)["two"]
    assert run.rate == pytest.approx(100, rel=0.5)


def test_who_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="ValueError: no such encoder"):
        alternate({"it": Entry(Failing, (), 1)}, rounds=1)
    with pytest.raises(RuntimeError, match="ValueError: no such package"):
        alternate({"first": Entry(Waiting, (), 1), "it": Entry(Unable, (), 1)}, rounds=1)


def test_memory_is_that_of_the_process_alone() -> None:
    held = bytearray(400 * 2**20)
    [run] = alternate({"it": Entry(Counting, (1.0,), 1)}, rounds=1)["it"]
    assert 2**20 < run.memory_bytes < len(held)


def test_medians_are_of_rounds() -> None:
    values = {"a": [2.0, 4.0, 9.0], "b": [1.0, 2.0, 1.0]}
    assert spread(values["a"]).median == 4
    assert (ratios(values, "a", "b").low, ratios(values, "a", "b").high) == (2, 9)
