"""What went wrong in a search, as plain tuples: failed trials by reason, each with what it said and where its log lies."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.records import TrialRecord
from tuner.search_folder import trial_folder

_LOGS = ("log.txt", "stack.txt")


@dataclass(frozen=True)
class Failure:
    """A trial that failed.

    Attributes:
        trial: its number.
        reason: `diverged`, `out_of_memory`, `hung`, `error` or `lost`.
        detail: a line on it.
        budget: training examples that it had seen.
        logs: files in its folder that tell more, under the search's folder.
    """

    trial: int
    reason: str
    detail: str
    budget: int
    logs: tuple[Path, ...]


@dataclass(frozen=True)
class Failures:
    """All of them.

    Attributes:
        num_trials: that the search has begun, trainings that confirm included.
        by_reason: reason and count, most first.
        trials: by number.
    """

    num_trials: int
    by_reason: tuple[tuple[str, int], ...]
    trials: tuple[Failure, ...]


def failures(records: Sequence[TrialRecord], folder: Path) -> Failures:
    """The failed trials, those that confirm among them.

    Args:
        records: all trials.
        folder: of the search; logs are looked for in it.
    """
    found = tuple(
        Failure(record.number, record.reason, record.detail, record.budget_used, _logs(folder, record.number))
        for record in records
        if record.state == "failed"
    )
    counts = Counter(failure.reason for failure in found)
    return Failures(len(records), tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))), found)


def _logs(folder: Path, number: int) -> tuple[Path, ...]:
    own = trial_folder(folder, number)
    return tuple((own / name).relative_to(folder) for name in _LOGS if (own / name).is_file())
