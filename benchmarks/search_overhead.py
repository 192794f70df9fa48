"""`python -m benchmarks.search_overhead DIR ...`: what a search costs beside what its trials spend training and scoring.

From the ledger of finished searches alone. Slots are kept busy from the first ask to the last report; what
lies outside is start-up and end. With c trials at once the overhead is `c * wall / sum of the trials'
training and scoring seconds`; the stretch at the end in which fewer than c trials are left is told apart, for
it is a matter of scheduling and not of overhead.
"""

import datetime
import sys
from pathlib import Path

from tuner.ledger import Ledger
from tuner.records import TrialRecord


def busy_seconds(record: TrialRecord) -> float:
    """Seconds that a trial spent training and scoring."""
    return sum(float(report["train_seconds"]) + float(report["eval_seconds"]) for report in record.reports)


def measure(records: list[TrialRecord], concurrency: int) -> dict[str, float]:
    """The figures of one search that ran in one go."""
    starts = sorted(record.started for record in records if record.started)
    ends = sorted(record.ended for record in records if record.ended)
    full_until = ends[-concurrency]  # from here on a slot is empty
    wall = (ends[-1] - starts[0]).total_seconds()
    idle = sum((ends[-1] - end).total_seconds() for end in ends[-concurrency:])
    busy = sum(busy_seconds(record) for record in records)
    training = sum(record.train_seconds for record in records)
    return {
        "wall seconds": wall,
        "training seconds": training,
        "training and scoring seconds": busy,
        "overhead": concurrency * wall / busy,
        "overhead without the tail": (concurrency * wall - idle) / busy,
        "tail seconds": (ends[-1] - full_until).total_seconds(),
    }


def main() -> None:
    for name in sys.argv[1:]:
        ledger = Ledger.open(Path(name))
        records = ledger.records(live=False)
        concurrency = int(ledger.header["settings"].get("concurrency") or ledger.header.get("slots") or 1)
        figures = measure(records, concurrency)
        print(f"{name}: {len(records)} trials, {concurrency} at once, {datetime.date.today()}")
        for key, value in figures.items():
            print(f"  {key:32s}{value:10.3f}")


if __name__ == "__main__":
    main()
