"""Rows of a study whose models teach other rows: who must be done first, and in which folder the model then lies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.study import ROW, SEED
from trainables.config_parts import TEACHER_ROW
from tuner.records import TrialRecord
from tuner.search_folder import BEST, trial_folder
from tuner.stored_trials import trial_place


class TeacherRows:
    """The teachers of a study's students.

    Args:
        folder: of the search, absolute.
        records: gives all trials as they stand; asked only where rows teach.
        storage: the search's place in a storage; None: models lie in its folder.
    """

    def __init__(self, folder: Path, records: Callable[[], Sequence[TrialRecord]], storage: str | None = None) -> None:
        self._folder, self._records, self._storage = folder, records, storage

    def are_ready(self, student: TrialRecord) -> bool:
        """True where each row that teaches this trial has a complete trial of the same seed number, or none teaches it."""
        rows = _rows(student.config)
        return not rows or set(rows) <= _complete(student, self._records()).keys()

    def failed(self, student: TrialRecord) -> int | None:
        """The number of a trial that was to teach this one and has failed; None where there is none."""
        rows = _rows(student.config)
        of_rows = (record for record in _of_seed(student, self._records()) if record.assignment[ROW] in rows)
        return next((record.number for record in of_rows if record.state == "failed"), None)

    def name_folders(self, student: TrialRecord) -> dict[str, Any]:
        """The student's config with the folder of a model, or its trial's place in the storage, in place of each `row:NAME`."""
        if not _rows(student.config):
            return student.config
        by_row = _complete(student, self._records())
        folders = {
            task: self._place(by_row[name.removeprefix(TEACHER_ROW)]) if _is_row(name) else name
            for task, name in _teachers(student.config).items()
        }
        objective = student.config["objective"]
        return {**student.config, "objective": {**objective, "distill": {**objective["distill"], "teachers": folders}}}

    def _place(self, number: int) -> str:
        return str(trial_folder(self._folder, number) / BEST) if self._storage is None else trial_place(self._storage, number)


def _teachers(config: Mapping[str, Any]) -> Mapping[str, Any]:
    teachers: Mapping[str, Any] = config.get("objective", {}).get("distill", {}).get("teachers", {})
    return teachers


def _is_row(name: Any) -> bool:
    return isinstance(name, str) and name.startswith(TEACHER_ROW)


def _rows(config: Mapping[str, Any]) -> list[str]:
    return [name.removeprefix(TEACHER_ROW) for name in _teachers(config).values() if _is_row(name)]


def _of_seed(student: TrialRecord, records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials of a study with the student's seed number."""
    number = student.assignment.get(SEED)
    return [record for record in records if ROW in record.assignment and record.assignment.get(SEED) == number]


def _complete(student: TrialRecord, records: Iterable[TrialRecord]) -> dict[str, int]:
    """Row -> number of its complete trial with the student's seed number."""
    return {str(r.assignment[ROW]): r.number for r in _of_seed(student, records) if r.state == "complete"}
