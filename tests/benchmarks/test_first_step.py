import runpy
import time

import pytest


@pytest.mark.parametrize("module", ["benchmarks.first_step", "benchmarks.peers.first_step"])
@pytest.mark.filterwarnings("ignore")  # what transformers warns of is not ours
def test_a_step_is_trained_and_the_clock_told(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = time.monotonic()
    runpy.run_module(module, run_name="__main__")
    assert before < float(capsys.readouterr().out.splitlines()[-1]) <= time.monotonic()
