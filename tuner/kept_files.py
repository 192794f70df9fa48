"""Whether what the ledger relies on lies in the trials' folders: checkpoints of those that go on, weights of the best ones.

And whether what was exported is what it was.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote

from trainables.checkpoints import MANIFEST, checkpoints, verify
from tuner.handover import exported_trial
from tuner.inspection import Finding, lasting
from tuner.records import TrialRecord, rank
from tuner.search_folder import BEST, TRIALS, exports, trial_folder

GOES_ON, _ENDED = ("running", "interrupted"), ("complete", "stopped")


def damaged(folder: Path) -> Iterator[Finding]:
    """Manifests of checkpoints, newest last, and of kept models; at the end how many are good."""
    num_good = 0
    for trial in sorted((folder / TRIALS).glob("*")):
        for kept in [*_checkpoints_of(trial), trial / BEST]:
            if found := lasting(lambda kept=kept: _damage_of(kept)):  # type: ignore[misc]
                yield from found
            else:
                num_good += kept.is_dir()
    yield Finding(f"checkpoints and kept models: {num_good} good")


def changed_exports(folder: Path) -> Iterator[Finding]:
    """Exports in a search's folder with a file that is not what it was; one without a manifest, an older one, is left out."""
    for export, number in exports(folder).items():
        option = "" if number is None else f" --trial {number}"
        anew = f"it is written anew by: python -m tuner.export {quote(str(folder))}{option}"
        yield from lasting(lambda export=export, anew=anew: _changes_of(export, anew))  # type: ignore[misc]


def _changes_of(export: Path, anew: str) -> list[Finding]:
    return [Finding(problem, anew) for problem in _problems_of(export)] if (export / MANIFEST).exists() else []


def missing(folder: Path, read_records: Callable[[], list[TrialRecord]], keep_models: int) -> list[Finding]:
    """Trials whose reports the ledger holds, but nothing of what they have learnt lies in their folder.

    Args:
        folder: of the search.
        read_records: reads the trials anew.
        keep_models: how many ended trials keep their weights.
    """
    return lasting(lambda: [*_without_weights(folder, read_records(), keep_models), *_without_state(folder, read_records())])


def _damage_of(kept: Path) -> list[Finding]:
    if not kept.is_dir() or not (problems := _problems_of(kept)):
        return []
    before = "it is passed over: the one before is used, if there is one, else the trial is trained again from its start"
    others = before if kept.name != BEST else "another trial can be exported (--trial N)"
    return [Finding(problems[0], f"{others}; rm -r {quote(str(kept))} frees the room")]


def _without_weights(folder: Path, records: list[TrialRecord], keep_models: int) -> Iterator[Finding]:
    for record in rank(record for record in records if record.state in _ENDED)[:keep_models]:
        if not (trial_folder(folder, record.number) / BEST).is_dir():
            seen = f"trial {record.number}: among the best {keep_models}, whose weights are kept, but has none"
            gone = "nothing brings them back, but training its config again; another trial can be exported (--trial N)"
            held = f"{folder / BEST} holds its model; keep a copy of that"
            yield Finding(seen, held if exported_trial(folder / BEST) == (record.number, record.score) else gone)


def _without_state(folder: Path, records: list[TrialRecord]) -> Iterator[Finding]:
    for record in records:
        if record.state in GOES_ON and record.reports:
            trial = trial_folder(folder, record.number)
            if not any(not _problems_of(kept) for kept in reversed(_checkpoints_of(trial))):
                seen = f"trial {record.number}: {len(record.reports)} reports, but no good checkpoint"
                yield Finding(
                    seen, f"a copy of {trial / 'checkpoints'}, if there is one; else it is trained again from its start"
                )


def _checkpoints_of(trial: Path) -> list[Path]:
    try:
        return checkpoints(trial / "checkpoints")
    except OSError:  # swept meanwhile
        return []


def _problems_of(kept: Path) -> list[str]:
    try:
        return verify(kept)
    except OSError as error:
        return [f"{kept}: {error.strerror}"]
