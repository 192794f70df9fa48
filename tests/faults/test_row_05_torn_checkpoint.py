"""Row 5: the newest checkpoint of a killed search is torn, and it is begun again."""

import random
import time
from collections.abc import Callable

import pytest

from tests.damages import truncate
from tests.end_to_end.conftest import Bench
from tests.faults import driving
from tests.faults.killed_search import NUM_TRIALS, as_killed, killed, newest_checkpoints, template_of  # noqa: F401  a fixture
from tests.faults.ledger_check import Events, problems_of
from tests.faults.scorecard import Row

SEED = 19_690_720


@pytest.mark.faults
def test_torn_newest_checkpoint_is_passed_over_and_the_ledger_says_so(
    killed: tuple[Bench, Events],  # noqa: F811
    row: Callable[..., Row],
    full: bool,
) -> None:
    bench, acknowledged = killed
    filled = row(5, "the newest checkpoint torn", "from the new start to its end")
    names = sorted({file.name for file in newest_checkpoints(template_of(bench))[-1].rglob("*") if file.is_file()})
    for name in names if full else ["optimizer.safetensors"]:
        newest = newest_checkpoints(as_killed(bench))[-1]
        truncate(next(newest.rglob(name)), random.Random(SEED))
        trial, begun = int(newest.parts[-3]), time.monotonic()
        code = driving.run(bench, "--resume", driving.FOLDER)
        filled.runs += 1
        filled.recover_seconds.append(time.monotonic() - begun)
        filled.redone_intervals.append(float(driving.redone_whole(bench)[trial]))
        filled.failures += [
            *([f"exit code {code}"] if code else []),
            *problems_of(driving.folder_of(bench), acknowledged, NUM_TRIALS),
        ]
        said = [line for report in driving.records(bench)[trial].reports for line in report.get("passed_over", [])]
        filled.failures += (
            [] if any(newest.name in line and name in line for line in said) else [f"{name}: the ledger says {said}"]
        )
    assert filled.failures == []
