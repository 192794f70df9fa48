"""The ledger: one Optuna study in a relational store, the only truth about a search.

The driver alone writes it, and writes every ask, report, tell and failure *before* acting on it; whoever else wants to know
(leaderboard, mirror, a driver that takes over) reads it.  What a trial is stands in its attributes:

| key | value |
|---|---|
| `assignment` | config path -> value: what the sampler chose |
| `config` | the whole resolved config; written last, so that where it stands the ask is complete |
| `lineage` | seed of the search and whatever else the driver knows of the trial's making |
| `report:000001234` | all metrics of the report at a budget of 1234 examples; the intermediate value there is its `score` |
| `passed:3` | it was let go on at the rung of its 3rd report |
| `reason` | why it ended, and a line on it; written just before the tell |

Optuna's own states follow: COMPLETE is a trial with its full budget, PRUNED one that ASHA stopped, FAIL one that failed, RUNNING
one that is running or was interrupted.  Only COMPLETE and PRUNED ones teach the sampler.
"""

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search_spaces.domains import Categorical, Domain, Float, Int, Value
from search_spaces.space import Assignment, Space
from trainables.config import TrialConfig
from tuner.records import Ending, Reason, Report, State, TrialRecord
from tuner.settings import sqlite_url

LEDGER_FILE = "study.db"
_STUDY_NAME = "tritune"
_REPORT_PREFIX = "report:"
_PASSED_PREFIX = "passed:"
_TOLD: dict[Ending, TrialState] = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

optuna.logging.set_verbosity(optuna.logging.ERROR)


class LedgerError(ValueError):
    """The folder or the store holds no search that can be read; the message says what is there instead."""


class Ledger:
    """A search's study, open.  See the module for what stands where."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._open_trials: dict[int, optuna.Trial] = {}

    @classmethod
    def create(cls, folder: Path, header: Mapping[str, Any]) -> "Ledger":
        """A new ledger in `folder`, with what is fixed for the whole search: settings, space, lineage.

        Raises:
            LedgerError: there is one already.
        """
        path = folder / LEDGER_FILE
        if path.exists():
            raise LedgerError(f"{path}: a search stands here already")
        ledger = cls(optuna.create_study(storage=_storage(path), study_name=_STUDY_NAME, direction="maximize"))
        _write_ahead(path)
        for key, value in header.items():
            ledger.set_header(key, value)
        return ledger

    @classmethod
    def open(cls, folder: Path) -> "Ledger":
        """The ledger of the search in `folder`.

        Raises:
            LedgerError: no ledger there, or none that can be read.
        """
        path = folder / LEDGER_FILE
        if not path.is_file():
            raise LedgerError(f"{folder}: no search stands here (there is no {LEDGER_FILE})")
        try:
            _look_for_study(path)
            return cls(optuna.load_study(storage=_storage(path), study_name=_STUDY_NAME))
        except Exception as error:
            raise LedgerError(f"{path}: no ledger that can be read: {first_line(error)}") from error

    @property
    def header(self) -> dict[str, Any]:
        """What is fixed for the whole search."""
        return dict(self._study.user_attrs)

    def set_header(self, key: str, value: Any) -> None:
        """Writes one entry of the header; plain values only."""
        self._study.set_user_attr(key, value)

    def ask(self, space: Space, base: TrialConfig, sampler: BaseSampler, attributes: Mapping[str, Any]) -> TrialRecord:
        """Asks the sampler for the next trial and writes it down, whole, before anybody hears of it.

        Args:
            space: what varies.
            base: the config under it.
            sampler: draws the values.
            attributes: `seed` of the search and what else is to stand with the trial.
        """
        self._study.sampler = sampler
        with _quiet():
            trial = self._study.ask()
        return self._complete_ask(trial, space, base, attributes)

    def complete_ask(
        self, number: int, space: Space, base: TrialConfig, sampler: BaseSampler, attributes: Mapping[str, Any]
    ) -> TrialRecord:
        """Finishes an ask that was cut short: values already drawn stay, the rest is drawn now."""
        self._study.sampler = sampler
        with _quiet():
            trial = self._reopen(number)
        return self._complete_ask(trial, space, base, attributes)

    def _complete_ask(self, trial: optuna.Trial, space: Space, base: TrialConfig, attributes: Mapping[str, Any]) -> TrialRecord:
        with _quiet():
            assignment = space.draw(lambda path, domain: _suggest(trial, path, domain), base)
        config = space.configure(assignment, base, int(attributes["seed"]), trial.number)
        self._open_trials[trial.number] = trial
        trial.set_user_attr("lineage", dict(attributes))
        trial.set_user_attr("assignment", assignment)
        trial.set_user_attr("config", config.to_tree())
        return self.record(trial.number)

    def enqueue(self, assignments: list[Assignment]) -> None:
        """Puts points in the queue that asks are answered from first; points that were enqueued or tried before are skipped."""
        with _quiet():
            for assignment in assignments:
                self._study.enqueue_trial(assignment, skip_if_exists=True)

    def report(self, number: int, report: Report) -> bool:
        """Acknowledges one report: all its metrics first, then its score.

        Returns:
            False where a report of this budget stands already: then nothing is written.
        """
        trial = self._trial(number)
        budget = int(report["budget"])
        if budget in self._frozen()[number].intermediate_values:
            return False
        trial.set_user_attr(f"{_REPORT_PREFIX}{budget:09d}", dict(report))
        trial.report(float(report["score"]), step=budget)
        return True

    def pass_rung(self, number: int, report: int) -> None:
        """Writes down that a trial was let go on at the rung of its `report`-th report."""
        self._trial(number).set_user_attr(f"{_PASSED_PREFIX}{report}", True)

    def tell(self, number: int, ending: Ending, reason: Reason = "", detail: str = "") -> bool:
        """Ends a trial.

        A trial without a report cannot be complete: it is written down as failed, `lost`.

        Returns:
            False where it had ended already: the first ending stands, and nothing is written.
        """
        record = self.record(number)
        if record.state != "running":
            return False
        if ending == "complete" and record.score is None:
            ending, reason, detail = "failed", "lost", "ended without a report"
        trial = self._trial(number)
        trial.set_user_attr("reason", [reason, detail])
        value = record.score if ending == "complete" else None
        self._study.tell(number, values=value, state=_TOLD[ending], skip_if_finished=True)
        self._open_trials.pop(number, None)
        return True

    def record(self, number: int) -> TrialRecord:
        """The record of one trial."""
        return _record(self._frozen()[number])

    def records(self, *, live: bool = True) -> list[TrialRecord]:
        """All trials that were asked, in order.

        Args:
            live: whether a driver is at work on this search; if not, what is neither told nor running was `interrupted`.
        """
        asked = [_record(t) for t in self._frozen() if t.state is not TrialState.WAITING]
        if live:
            return asked
        return [_interrupted(record) if record.state == "running" else record for record in asked]

    def _frozen(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _trial(self, number: int) -> optuna.Trial:
        """A trial that runs, open for writing."""
        if number not in self._open_trials:
            self._study.sampler = optuna.samplers.RandomSampler()  # opening asks the sampler, and its answer is not wanted
            self._open_trials[number] = self._reopen(number)
        return self._open_trials[number]

    def _reopen(self, number: int) -> optuna.Trial:
        return optuna.trial.Trial(self._study, self._frozen()[number]._trial_id)


def _suggest(trial: optuna.Trial, path: str, domain: Domain) -> Value:
    if isinstance(domain, Categorical):
        choice = trial.suggest_categorical(path, domain.choices)
        assert choice is not None
        return choice
    if isinstance(domain, Float):
        return trial.suggest_float(path, domain.low, domain.high, log=domain.log)
    assert isinstance(domain, Int)
    return trial.suggest_int(path, domain.low, domain.high, log=domain.log)


def _record(frozen: FrozenTrial) -> TrialRecord:
    attrs = frozen.user_attrs
    reason, detail = attrs.get("reason", ("", ""))
    budgets = ((budget, f"{_REPORT_PREFIX}{budget:09d}") for budget in sorted(frozen.intermediate_values))
    reports = (attrs[key] for _, key in budgets if key in attrs)  # a reader may see an attribute later than the value after it
    states: dict[TrialState, State] = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "stopped",
        TrialState.FAIL: "failed",
    }
    return TrialRecord(
        number=frozen.number,
        state=states.get(frozen.state, "running"),
        assignment=attrs.get("assignment", {}),
        config=attrs.get("config", {}),
        reports=tuple(reports),
        passed_rungs=frozenset(int(key.removeprefix(_PASSED_PREFIX)) for key in attrs if key.startswith(_PASSED_PREFIX)),
        reason=reason if frozen.state.is_finished() else "",
        detail=detail if frozen.state.is_finished() else "",
        lineage=attrs.get("lineage", {}),
        started=frozen.datetime_start,
        ended=frozen.datetime_complete,
    )


def _interrupted(record: TrialRecord) -> TrialRecord:
    return TrialRecord(**{**record.__dict__, "state": "interrupted"})


def _storage(path: Path) -> optuna.storages.RDBStorage:
    url = sqlite_url(path.resolve()).replace("{", "{{").replace("}", "}}")  # Optuna formats the URL
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}}, skip_compatibility_check=False)


def _look_for_study(path: Path) -> None:
    """Raises where the file holds no study of ours; Optuna would first make its tables in it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        if connection.execute("SELECT 1 FROM studies WHERE study_name = ?", (_STUDY_NAME,)).fetchone() is None:
            raise LookupError(f"it holds no study named {_STUDY_NAME}")


def _write_ahead(path: Path) -> None:
    """SQLite's write-ahead log, kept in the file from now on: readers no longer make the driver wait."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's warnings that an option we chose is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def first_line(error: BaseException) -> str:
    """The first line of an error, cut to 300 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
