"""Which trial of a search is exported: the best one whose weights are there and whole, in its folder or in the storage."""

from collections.abc import Callable
from pathlib import Path

from trainables.checkpoints import MANIFEST, verify
from trainables.parts import ConfigError
from trainables.plain_files import read_json
from trainables.storage import DamagedError
from trainables.stored_trial import METRICS
from tuner import search_folder
from tuner.confirmation import Confirmation
from tuner.ledger import Ledger
from tuner.records import TrialRecord, rank, standing
from tuner.stored_trials import search_place, stored_trial


class ExportError(ConfigError):
    """The search has nothing that can be exported, or what was exported does not score what the ledger says."""


def choose(
    folder: Path,
    records: list[TrialRecord],
    trial: int | None = None,
    say: Callable[[str], object] = lambda _line: None,
    *,
    storage: str | None = None,
    confirmed: Confirmation | None = None,
) -> TrialRecord:
    """The trial asked for, or the best that still has the weights of its best report: one with its full budget if there is any.

    Where a search has confirmed its best, a training of the config with the best confirmed mean comes first: of these the one
    with the best score on the rows that trials are scored on, so that the rows that were kept choose configs alone.

    A trial that was cut off may have written newer weights than the ledger has heard of; those are passed over.  So are damaged
    ones, of which `say` hears.  Where the search has a storage, the weights lie in the trial's folder once it is chosen.

    Raises:
        ExportError: there is none, or the one asked for is none of the search's, has no report or no weights.
        StorageError: the storage cannot be reached.
    """
    if trial is not None:
        return _asked_for(folder, records, trial, storage)
    for record in in_order_of_choice(records, confirmed):
        if (there := _score_there(folder, record, storage)) != record.score:
            if there is None and storage is None and (unread := weights_of(folder, record) / METRICS).exists():
                say(f"trial {record.number}: its weights are damaged ({unread}: cannot be read); the next best is exported")
            continue
        if not (problems := _brought(folder, record, storage)):
            return record
        say(f"trial {record.number}: its weights are damaged ({problems[0]}); the next best is exported")
    raise ExportError([f"{folder}: nothing to export, for no trial has a report and its weights"])


def in_order_of_choice(records: list[TrialRecord], confirmed: Confirmation | None) -> list[TrialRecord]:
    """The trials that may be exported, the best choice first: trainings of what is confirmed, then the search's own ranking."""
    by_number = {record.number: record for record in records}
    again = [[by_number[number] for number in config.trainings] for config in (confirmed.configs if confirmed else ())]
    return [*(record for trainings in again for record in sorted(trainings, key=standing)), *rank(records)]


def _in_words(numbers: list[int]) -> str:
    """Ascending numbers, those without a gap as a range: `0, 1, 4 to 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    spans = (f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
    return ", ".join(spans) or "none"


def _asked_for(folder: Path, records: list[TrialRecord], trial: int, storage: str | None) -> TrialRecord:
    by_number = {record.number: record for record in records}
    if trial not in by_number:
        raise ExportError([f"--trial: {folder} has no trial {trial}; its trials are {_in_words(sorted(by_number))}"])
    record = by_number[trial]
    if record.score is None:
        raise ExportError([f"--trial: trial {trial} ({record.state}) has no report, and so no model"])
    if _score_there(folder, record, storage) != record.score:
        kept = [r.number for r in records if r.score is not None and _score_there(folder, r, storage) == r.score]
        there = f"those of trials {', '.join(map(str, kept))} are" if kept else "of this search none are"
        raise ExportError([f"--trial: the weights of trial {trial}'s best report are not there; {there}"])
    if problems := _brought(folder, record, storage):
        raise ExportError(["--trial: the weights are damaged", *problems])
    return record


def storage_of(ledger: Ledger) -> str | None:
    """The address of the search's place in its storage; None where it has none."""
    header = ledger.header
    return search_place(header, header.get("settings", {}).get("storage"))


def _score_there(folder: Path, record: TrialRecord, storage: str | None) -> float | None:
    """The score of the model that a trial has kept, in its folder or in the storage; None where there is none."""
    here = _exported_score(weights_of(folder, record))
    if here is None or here != record.score:
        return here if storage is None else stored_trial(storage, record.number).best_score()
    return here


def _brought(folder: Path, record: TrialRecord, storage: str | None) -> list[str]:
    """What is wrong with a trial's weights, which lie in its folder afterwards where nothing is."""
    weights = weights_of(folder, record)
    if storage is not None and (_exported_score(weights) != record.score or _damage(weights)):
        try:
            stored_trial(storage, record.number).bring_best(weights.parent)
        except DamagedError as error:
            return error.problems
    return _damage(weights)


def _damage(weights: Path) -> list[str]:
    """What is wrong with a trial's weights; without a manifest only their score can tell, which is looked at in any case."""
    return verify(weights) if (weights / MANIFEST).exists() else []


def _exported_score(weights: Path) -> float | None:
    """The score that stands with the weights of a trial; None where there are none or they are damaged."""
    try:
        return float(read_json(weights / METRICS)["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def weights_of(folder: Path, record: TrialRecord) -> Path:
    """Where a trial keeps the model of its best report."""
    return search_folder.trial_folder(folder, record.number) / search_folder.BEST
