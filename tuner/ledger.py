"""The ledger: one Optuna study in a relational store, the only truth about a search.

The driver alone writes it, and writes every ask, report, tell and failure *before* acting on it, each in one transaction; whoever
else wants to know (leaderboard, mirror, a driver that takes over) reads it.  What a trial is stands in its attributes:

| key | value |
|---|---|
| `assignment` | config path -> value: what the sampler chose |
| `config` | the whole resolved config; only a ledger from before asks were whole holds trials without |
| `lineage` | seed of the search and whatever else the driver knows of the trial's making |
| `report:000001234` | all metrics of the report at a budget of 1234 examples; the intermediate value there is its `score` |
| `passed:3` | it was let go on at the rung of its 3rd report |
| `audited` | the report at which it would have been stopped, had it not been drawn to run on |
| `confirms` | number of the trial that it trains again (null: the reference), and which of its new seeds |
| `micro_batch_size` | how many examples it computes at once since it ran out of memory |
| `reason` | why it ended, and a line on it; written just before the tell |

Optuna's own states follow: COMPLETE is a trial with its full budget, PRUNED one that ASHA stopped, FAIL one that failed, RUNNING
one that is running or was interrupted.  Only COMPLETE and PRUNED ones teach the sampler.
"""

import contextlib
import datetime
import json
import math
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import Connection

from search_spaces.domains import Value
from search_spaces.space import Space
from trainables.config import TrialConfig
from tuner.drawing import draw
from tuner.lease import Holder, Lease, holder_of
from tuner.ledger_places import LEDGER_FILE, LOCK_FILE, WAL_FILE, LedgerError, has_study
from tuner.ledger_values import check_header, check_trial
from tuner.processes import is_locked
from tuner.records import Confirms, Ending, Reason, Report, State, TrialRecord
from tuner.stores import create_study, engine_of, fold_log, is_cut_short, open_study, snapshot, study_in
from tuner.study_tables import changed, new_trial, read_trials, transaction, write_study_attribute, write_trial
from tuner.wal import problem_of_log

_REPORT_PREFIX = "report:"
_PASSED_PREFIX = "passed:"
_MICRO_BATCH_SIZE = "micro_batch_size"
_AUDITED, _CONFIRMS = "audited", "confirms"
_FIXED, _CONSTRAINTS = "fixed_params", "constraints"  # Optuna's
_TOLD: dict[Ending, TrialState] = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Ledger:
    """A search's study, open.  See the module for what stands where.

    Who has written once is the only writer from then on: what it knows is not read again.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._engine = engine_of(study)
        self._lease: Lease | None = None
        weakref.finalize(self, self._engine.dispose)
        self._known: list[FrozenTrial] = []
        self._writes = False
        self._ended: dict[int, TrialRecord] = {}

    @classmethod
    def create(cls, folder: Path, header: Mapping[str, Any], url: str | None = None) -> "Ledger":
        """A new ledger in `folder`, with what is fixed for the whole search: settings, space, lineage.

        Args:
            folder: of the search.
            header: its entries; `id` names the study in a database.
            url: of a database that holds it; None: a file in the folder.

        Raises:
            LedgerError: there is one already.
        """
        if has_study(folder):
            raise LedgerError(f"{folder}: a search stands here already")
        ledger = cls(create_study(folder, url, str(header.get("id", ""))))
        for key, value in header.items():
            ledger.set_header(key, value)
        return ledger

    @classmethod
    def open(cls, folder: Path) -> "Ledger":
        """The ledger of the search in `folder`, to write it.

        Raises:
            LedgerError: no ledger there, none that can be read, or one that has to be put together again first.
        """
        return cls._opened(folder, writes=True)

    @classmethod
    def read(cls, folder: Path) -> "Ledger":
        """The same, to look at: no byte of it is changed, so that what is damaged can still be put together again.

        Raises:
            LedgerError: as `open`.
        """
        return cls._opened(folder, writes=False)

    @classmethod
    def _opened(cls, folder: Path, *, writes: bool) -> "Ledger":
        if problem := problem_to_mend(folder):
            raise LedgerError(f"{problem}: python -m tuner.search --resume {quote(str(folder))} puts it right")
        try:
            return cls(open_study(folder, writes=writes))
        except LedgerError:
            raise
        except Exception as error:
            raise LedgerError(f"{folder}: no ledger that can be read: {first_line(error)}") from error

    @contextlib.contextmanager
    def held(self, *, folder_is_ours: bool = False) -> Iterator[None]:
        """Holds the ledger's lease: until its end nobody else writes.

        Args:
            folder_is_ours: this process holds the lock of the search's folder (see `Lease`).

        Raises:
            LeaseHeldError: another driver holds it.
        """
        with Lease(self._engine, self._study._study_id, folder_is_ours=folder_is_ours).renewed() as lease:
            self._lease = lease
            yield
        fold_log(self._engine)

    @property
    def holder(self) -> Holder | None:
        """Whoever is at work on it, on whatever machine."""
        with self._engine.connect() as connection:
            return holder_of(connection, self._study._study_id)

    @property
    def header(self) -> dict[str, Any]:
        """What is fixed for the whole search.

        Raises:
            LedgerError: an entry is not of its kind.
        """
        with self._telling_what_is_wrong():
            header = dict(self._study.user_attrs)
            check_header(header)
        return header

    def set_header(self, key: str, value: Any) -> None:
        """Writes one entry of the header; plain values only.

        Raises:
            LeaseLostError: another driver has taken over.
        """
        with self._own_transaction() as connection:
            write_study_attribute(connection, self._study._study_id, "user", key, value)

    def ask(self, space: Space, base: TrialConfig, sampler: BaseSampler, attributes: Mapping[str, Any]) -> TrialRecord:
        """Asks the sampler for the next trial and writes it down, whole, before anybody hears of it.

        Args:
            space: what varies.
            base: the config under it.
            sampler: draws the values.
            attributes: `seed` of the search and what else is to stand with the trial.
        """
        trials = self._to_write()
        waiting = next((trial for trial in trials if trial.state is TrialState.WAITING), None)
        return self._write_ask(waiting or new_trial(len(trials), TrialState.RUNNING), space, base, sampler, attributes)

    def begin_confirming(self, confirms: Confirms, config: TrialConfig, attributes: Mapping[str, Any]) -> TrialRecord:
        """Writes down a trial that trains a config again, whole, before anybody hears of it; samplers never see it.

        Args:
            confirms: whose config, and which of its new seeds.
            config: of this training.
            attributes: `seed` of the search and what else is to stand with the trial.
        """
        number = len(self._to_write())
        assignment = {} if confirms.trial is None else self.record(confirms.trial).assignment
        own = {"assignment": assignment, "config": config.to_tree(), _CONFIRMS: [confirms.trial, confirms.repeat]}
        attrs = {"lineage": dict(attributes), **own}
        begun = new_trial(number, TrialState.RUNNING)
        self._write(changed(begun, user_attrs=_plain(attrs), datetime_start=datetime.datetime.now()))
        return self.record(number)

    def complete_ask(
        self, number: int, space: Space, base: TrialConfig, sampler: BaseSampler, attributes: Mapping[str, Any]
    ) -> TrialRecord:
        """Finishes an ask that was cut short: values already drawn stay, the rest is drawn now."""
        return self._write_ask(self._to_write()[number], space, base, sampler, attributes)

    def _write_ask(
        self, trial: FrozenTrial, space: Space, base: TrialConfig, sampler: BaseSampler, attributes: Mapping[str, Any]
    ) -> TrialRecord:
        fixed = {**trial.system_attrs.get(_FIXED, {}), **trial.params}
        others = [other for other in self._known if other.number != trial.number and _CONFIRMS not in other.user_attrs]
        drawn = draw(space, base, sampler, others, number=trial.number, fixed=fixed)
        config = space.configure(drawn.assignment, base, int(attributes["seed"]), trial.number)
        attrs = {"lineage": dict(attributes), "assignment": drawn.assignment, "config": config.to_tree()}
        whole = changed(trial, params=drawn.params, distributions=drawn.distributions, user_attrs=_plain(attrs))
        started = trial.datetime_start or datetime.datetime.now()
        self._write(changed(whole, state=TrialState.RUNNING, datetime_start=started))
        return self.record(trial.number)

    def enqueue(self, points: Iterable[Mapping[str, Value]]) -> None:
        """Puts points in the queue that asks are answered from first; points that were enqueued or tried before are skipped.

        Args:
            points: names of dimensions -> values.
        """
        for point in points:
            trials = self._to_write()
            tried = (trial for trial in trials if _CONFIRMS not in trial.user_attrs)
            if not any(point in (trial.params, trial.system_attrs.get(_FIXED)) for trial in tried):
                self._write(new_trial(len(trials), TrialState.WAITING, _plain({_FIXED: dict(point)})))

    def report(self, number: int, report: Report) -> bool:
        """Acknowledges one report: all its metrics, and its score.

        Returns:
            False where a report of this budget stands already: then nothing is written.
        """
        trial = self._to_write()[number]
        budget = int(report["budget"])
        if budget in trial.intermediate_values:
            return False
        attrs = _plain({f"{_REPORT_PREFIX}{budget:09d}": dict(report)})
        self._write(changed(trial, user_attrs=attrs, intermediate_values={budget: float(report["score"])}))
        return True

    def pass_rung(self, number: int, report: int) -> None:
        """Writes down that a trial was let go on at the rung of its `report`-th report."""
        self._write(changed(self._to_write()[number], user_attrs={f"{_PASSED_PREFIX}{report}": True}))

    def audit(self, number: int, report: int) -> None:
        """Writes down that a trial runs on though it would have been stopped at the rung of its `report`-th report."""
        self._write(changed(self._to_write()[number], user_attrs={_AUDITED: report}))

    def halve(self, number: int, micro_batch_size: int) -> None:
        """Writes down that a trial ran out of memory and goes on with so many examples at once."""
        self._write(changed(self._to_write()[number], user_attrs={_MICRO_BATCH_SIZE: micro_batch_size}))

    def tell(self, number: int, ending: Ending, reason: Reason = "", detail: str = "") -> bool:
        """Ends a trial.

        A trial without a report cannot be complete: it is written down as failed, `lost`.  One that ran out of memory is marked
        as Optuna's `Trial.set_constraint` does it, so that samplers learn to keep away (see `tuner.drawing`).

        Returns:
            False where it had ended already: the first ending stands, and nothing is written.
        """
        trial = self._to_write()[number]
        if trial.state.is_finished():
            return False
        score = _record(trial).score
        if ending == "complete" and score is None:
            ending, reason, detail = "failed", "lost", "ended without a report"
        state = _TOLD[ending]
        value = score if state is TrialState.COMPLETE else _last_score(trial) if state is TrialState.PRUNED else None
        told = changed(trial, state=state, values=None if value is None else [value], datetime_complete=datetime.datetime.now())
        infeasible = {f"{_CONSTRAINTS}:out_of_memory": 1.0} if reason == "out_of_memory" else {}
        self._write(changed(told, user_attrs={"reason": [reason, detail]}, system_attrs=infeasible))
        return True

    def _write(self, after: FrozenTrial) -> None:
        """Writes an event, then knows it.

        Raises:
            LeaseLostError: another driver has taken over.
        """
        is_new = after.number == len(self._known)
        with self._own_transaction() as connection:
            trial_id = write_trial(connection, self._study._study_id, None if is_new else self._known[after.number], after)
        after = changed(after, _trial_id=trial_id)
        if is_new:
            self._known.append(after)
        else:
            self._known[after.number] = after

    @contextlib.contextmanager
    def _own_transaction(self) -> Iterator[Connection]:
        """A transaction in which nobody else can be the writer."""
        with transaction(self._engine) as connection:
            if self._lease is not None:
                self._lease.check(connection)
            yield connection

    def record(self, number: int) -> TrialRecord:
        """The record of one trial."""
        return self._record(self._trials()[number])

    def records(self, *, live: bool = True) -> list[TrialRecord]:
        """All trials that were asked, in order.

        Args:
            live: whether a driver is at work on this search; if not, what is neither told nor running was `interrupted`.
        """
        asked = [self._record(trial) for trial in self._trials() if trial.state is not TrialState.WAITING]
        if live:
            return asked
        return [_interrupted(record) if record.state == "running" else record for record in asked]

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        """Made once where the trial has ended: there may be thousands."""
        if not trial.state.is_finished():
            return _record(trial)
        return self._ended.get(trial.number) or self._ended.setdefault(trial.number, _record(trial))

    def _trials(self) -> list[FrozenTrial]:
        if not self._writes:
            with self._telling_what_is_wrong(), snapshot(self._engine) as connection:
                known = read_trials(connection, self._study._study_id, self._known)
                for number, trial in enumerate(known):
                    if number >= len(self._known) or trial is not self._known[number]:
                        check_trial(number, trial)
            self._known = known
        return self._known

    @contextlib.contextmanager
    def _telling_what_is_wrong(self) -> Iterator[None]:
        """Whoever wrote the file may have put anything into it: what cannot be read is one error, with the file's name."""
        try:
            yield
        except Exception as error:
            raise LedgerError(f"{self._engine.url.database}: no ledger that can be read: {first_line(error)}") from error

    def _to_write(self) -> list[FrozenTrial]:
        trials = self._trials()
        self._writes = True
        return trials


def check_readable(path: Path) -> None:
    """Reads all of a ledger in a file, as whoever goes on with it will.

    Raises:
        LedgerError: something in it cannot be read.
    """
    try:
        ledger = Ledger(study_in(path, writes=False))
    except Exception as error:
        raise LedgerError(f"{path}: no ledger that can be read: {first_line(error)}") from error
    try:
        _ = ledger.header, ledger.records()
    finally:
        ledger._engine.dispose()


def problem_to_mend(folder: Path) -> str:
    """Why the ledger in a folder has to be put together again before anybody opens it; empty: nothing is known.

    While a driver is at work its log is not looked at: it grows meanwhile.
    """
    if is_cut_short(folder):
        return f"{folder / LEDGER_FILE}: a driver was killed while it put it together again"
    return "" if is_locked(folder / LOCK_FILE) else problem_of_log(folder / WAL_FILE)


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """As whoever reads them gets them: tuples are lists."""
    plain: dict[str, Any] = json.loads(json.dumps(attrs))
    return plain


def _last_score(trial: FrozenTrial) -> float | None:
    """What Optuna tells a stopped trial with."""
    score = trial.intermediate_values.get(trial.last_step or 0)
    return None if score is None or math.isnan(score) else score


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
        audited=attrs.get(_AUDITED),
        confirms=Confirms(*attrs[_CONFIRMS]) if _CONFIRMS in attrs else None,
        micro_batch_size=attrs.get(_MICRO_BATCH_SIZE),
        reason=reason if frozen.state.is_finished() else "",
        detail=detail if frozen.state.is_finished() else "",
        lineage=attrs.get("lineage", {}),
        started=frozen.datetime_start,
        ended=frozen.datetime_complete,
    )


def _interrupted(record: TrialRecord) -> TrialRecord:
    return TrialRecord(**{**record.__dict__, "state": "interrupted"})


def first_line(error: BaseException) -> str:
    """The first line of an error, cut to 300 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
