import pytest

from benchmarks.commands import ProgramEntry
from benchmarks.measuring import alternate
from benchmarks.simulated_driver import Clock, SimulatedDriver


def test_figures_are_of_the_window_in_which_all_report() -> None:
    clock = Clock()
    clock.reports = [(number / 4, number / 100) for number in range(100)]
    assert clock.figures() == pytest.approx({"CPU s a second": 0.04, "reports/s": 4, "CPU a report, ms": 10})


@pytest.mark.slow
def test_simulated_trials_run_under_ray() -> None:
    [run] = alternate({"2": ProgramEntry(SimulatedDriver(2, 5))}, rounds=1, warm_ups=0)["2"]
    assert run.seconds > 0 and run.more["reports/s"] > 0 and run.more["all processes, MiB"] > 100
