"""The referee: what happens when a trial is wanted, reports or ends.  The ledger hears of it first, Ray second.

Ray's searcher and scheduler are two thin faces of it, so that the order of events is written once, here:
ask -> ledger -> Ray starts it; report -> ledger -> decision -> tell -> ledger -> Ray stops it.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from search_spaces.space import Space
from trainables.config import TrialConfig
from trainables.halving import halved
from tuner.audit import is_audited
from tuner.confirm import config_of, is_confirmed, missing, num_to_come, num_trainings, seconds_needed
from tuner.ledger import Ledger
from tuner.records import Confirms, Ending, Reason, Report, TrialRecord, report_seconds, searched
from tuner.report_check import wrong_with
from tuner.rungs import Rungs, rung_reports
from tuner.samplers import make_sampler
from tuner.search_folder import trial_folder
from tuner.settings import SearchSettings
from tuner.stored_trials import trial_place
from tuner.teacher_rows import TeacherRows

Decision = Literal["continue", "stop"]
Pause = Literal["wait", "finished"]
Listener = Callable[[str, TrialRecord], None]

MOST_TAKEN_BACK = 3
"""Times that a trial is handed out again whose workers died before it began."""


@dataclass(frozen=True)
class Order:
    """One trial as Ray gets it: plain values only, the same on every machine.

    Attributes:
        number: of the trial.
        config: a `TrialConfig` as plain values.
        folder: of the trial.
        known_reports: reports that stand in the ledger.
        data_hashes, encoder_sha256: of the files that the search began with, where that is known; a worker that finds others
            fails its trial.
        storage: the trial's place in a storage, where it works away from its folder (`trainables.stored_trial`).
    """

    number: int
    config: dict[str, Any]
    folder: str
    known_reports: int
    data_hashes: dict[str, str] | None = None
    encoder_sha256: str | None = None
    storage: str | None = None

    def to_tree(self) -> dict[str, Any]:
        """As plain values."""
        return dict(self.__dict__)


class Referee:
    """Hands out trials and judges their reports.

    Args:
        ledger: open for writing; what it holds already is taken up: interrupted trials come first, rungs stand as they stood.
        settings, space, base: the search.
        folder: of the search, absolute; trials get `trials/<number>/` in it.
        slots: trials at once.
        storage: the search's place in a storage that all machines reach; None: its folder is such.
        attributes: lineage that goes with each trial; `data_hashes` and `encoder_sha256` in it go to the workers as well.
        listener: called with "ask", "confirm", "requeue", "report", "audit", "halve" or "end" and the trial's record after each
            event; must not raise.

    Attributes:
        rungs: where trials are compared.
        longest_report_seconds: the longest that a trial of this search has trained and scored for one report.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: SearchSettings,
        space: Space,
        base: TrialConfig,
        folder: Path,
        *,
        attributes: dict[str, Any],
        slots: int = 1,
        storage: str | None = None,
        listener: Listener = lambda _event, _record: None,
    ) -> None:
        self._ledger, self._settings, self._space, self._base, self._folder = ledger, settings, space, base, folder
        self._attributes = {**attributes, "seed": settings.seed}
        self._listener = listener
        self._storage, self._slots = storage, slots
        budget = settings.time_budget_seconds
        self._until = math.inf if budget is None else time.monotonic() + budget
        self._teachers = TeacherRows(folder, ledger.records, storage)
        trials = searched(ledger.records())
        self.rungs = Rungs.from_records(trials, self.rung_reports, settings.reduction_factor)
        self._num_asked, self._num_trials = len(trials), settings.trials
        self._num_open = sum(record.state == "running" for record in ledger.records())  # that may still report
        self._to_confirm: deque[Confirms] | None = None  # not known yet
        self.longest_report_seconds = max(
            map(report_seconds, (r for record in ledger.records() for r in record.reports)), default=0.0
        )
        self._unfinished = deque(self._take_up())
        self._times_taken_back: Counter[int] = Counter()
        self._students: list[tuple[str, TrialRecord]] = []  # their teachers are still trained

    @property
    def rung_reports(self) -> tuple[int, ...]:
        """The reports at which trials are compared; empty without early stopping."""
        if self._settings.early_stopping == "none":
            return ()
        return rung_reports(self._base.num_reports, self._settings.reduction_factor)

    @property
    def num_to_start(self) -> int:
        """Trials that are still to be handed out, interrupted ones included, and at most so many that confirm the best."""
        trials = len(self._unfinished) + len(self._students) + max(0, self._settings.trials - self._num_asked)
        return trials + num_to_come(self._ledger.records(), self._settings, self._base)

    @property
    def most_orders(self) -> int:
        """No more are ever handed out: each trial as often as it may be taken back, each training made up for once."""
        return (self.num_to_start + num_trainings(self._settings, self._base)) * (1 + MOST_TAKEN_BACK)

    def is_to_start(self, number: int) -> bool:
        """Whether a trial that was begun before waits to be handed out."""
        return any(record.number == number for record in self._unfinished)

    def take_back(self, number: int) -> None:
        """A trial that was handed out and never begun is handed out again, at most so often."""
        self._times_taken_back[number] += 1
        record = self._ledger.record(number)
        if record.state == "running" and self._times_taken_back[number] <= MOST_TAKEN_BACK:
            self._unfinished.append(record)

    def next_order(self) -> Order | Pause:
        """The next trial: an interrupted one, or a new one that stands in the ledger by now.

        Once all trials of the search are out, those follow that confirm: of the reference first, of the best when they are known.

        Returns:
            `wait` where all that is left are students whose teachers are still trained, or trials that confirm what is not
            decided yet; `finished` once all are out.
        """
        while True:
            taken = self._taught_student() or self._unfinished_trial() or self._new_trial() or self._next_to_confirm()
            if taken is None:
                return "wait" if self._students or self._is_undecided else "finished"
            event, record = taken
            if self._teachers.are_ready(record):
                self._listener(event, record)
                return self._order(record)
            self._students.append(taken)

    def _taught_student(self) -> tuple[str, TrialRecord] | None:
        """A student whose teachers are trained by now; one whose teacher has failed fails as well."""
        for taken in list(self._students):
            if self._teachers.are_ready(taken[1]):
                self._students.remove(taken)
                return taken
            if (missing := self._teachers.failed(taken[1])) is not None:
                self._students.remove(taken)
                self.end(taken[1].number, "failed", "error", f"its teacher, trial {missing}, has failed")
        return None

    def _unfinished_trial(self) -> tuple[str, TrialRecord] | None:
        return ("requeue", self._unfinished.popleft()) if self._unfinished else None

    def _new_trial(self) -> tuple[str, TrialRecord] | None:
        if self._num_asked >= self._settings.trials or self._has_to_confirm_now():
            return None
        record = self._ledger.ask(self._space, self._base, self._sampler(self._num_asked), self._attributes)
        self._num_asked += 1
        self._num_open += 1
        return "ask", record

    def _has_to_confirm_now(self) -> bool:
        """Whether what is left of the time budget is what the confirmation takes: then the search has the trials that it has.

        The trials that were asked for and not begun come when the search is resumed.
        """
        if self._until < math.inf and is_confirmed(self._settings, self._base):
            needed = seconds_needed(self._ledger.records(), self._settings, self._base, self._slots)
            if needed is not None and time.monotonic() + needed > self._until:
                self._settings = self._settings.model_copy(update={"trials": max(1, self._num_asked)})
                self._to_confirm = None
        return self._num_asked >= self._settings.trials

    @property
    def _is_undecided(self) -> bool:
        """Whether trials at work may still change what is to be trained: one of the search may lead, a training may be lost."""
        return self._num_open > 0 and is_confirmed(self._settings, self._base)

    def _next_to_confirm(self) -> tuple[str, TrialRecord] | None:
        if self._to_confirm is None:
            self._to_confirm = deque(missing(self._ledger.records(), self._settings, self._base))
        if not self._to_confirm:
            return None
        confirms = self._to_confirm.popleft()
        config = config_of(confirms, self._ledger.records(), self._base, self._settings.seed)
        self._num_open += 1
        return "confirm", self._ledger.begin_confirming(confirms, config, self._attributes)

    def hear(self, number: int, report: dict[str, Any]) -> Decision:
        """One report of a trial: written down, then judged.

        Heard again it changes nothing, and nobody is told; nor does what a worker still sends after its trial has ended.
        """
        if self._ledger.record(number).state != "running":
            return "stop"
        wrong = wrong_with(report, (task.metric_key for task in self._base.tasks.tasks))
        if wrong is not None:
            return self.end(number, "failed", *wrong)
        if self._ledger.report(number, report):
            self.longest_report_seconds = max(self.longest_report_seconds, report_seconds(report))
            self._listener("report", self._ledger.record(number))
        return self._judge(number, report)

    def _take_up(self) -> Iterator[TrialRecord]:
        """What an earlier driver left unfinished: asks are completed, last reports judged if that was still to be done."""
        confirms = is_confirmed(self._settings, self._base)
        for record in self._ledger.records():
            if record.state != "running" or (record.confirms is not None and not confirms):
                continue
            if not record.config:
                sampler = self._sampler(record.number)
                yield self._ledger.complete_ask(record.number, self._space, self._base, sampler, self._attributes)
            elif not record.reports or self._judge(record.number, record.reports[-1]) == "continue":
                yield record

    def _judge(self, number: int, report: Report) -> Decision:
        index = int(report["report"])
        if index >= self._base.num_reports:
            return self.end(number, "complete")
        record = self._ledger.record(number)
        if record.confirms is not None or record.audited is not None:
            return "continue"
        if not self.rungs.goes_on(number, index, float(report["score"])):
            return self._stop_or_audit(number, index)
        if index in self.rung_reports:
            self._ledger.pass_rung(number, index)
        return "continue"

    def _stop_or_audit(self, number: int, index: int) -> Decision:
        """Ends a trial that is stopped at the rung of its `index`-th report, unless it was drawn to run on."""
        position = sum(record.state == "stopped" or record.audited is not None for record in self._ledger.records())
        share, seed = self._settings.audit_share, self._settings.seed
        if not is_audited(position, share, num_trials=self._num_trials, search_seed=seed):
            return self.end(number, "stopped")
        self._ledger.audit(number, index)
        self._listener("audit", self._ledger.record(number))
        return "continue"

    def out_of_memory(self, number: int, detail: str) -> Order | None:
        """A trial that ran out of memory is tried once more, with half as many examples at once, then it has failed.

        Returns:
            The order to go on with, which stands in the ledger by now; None: it has ended.
        """
        record = self._ledger.record(number)
        smaller = halved(TrialConfig.parse(record.config)) if record.micro_batch_size is None else None
        if record.state != "running" or smaller is None:
            self.end(number, "failed", "out_of_memory", detail)
            return None
        assert smaller.data.micro_batch_size is not None
        self._ledger.halve(number, smaller.data.micro_batch_size)
        record = self._ledger.record(number)
        self._listener("halve", record)
        return self._order(record)

    def end(self, number: int, ending: Ending, reason: Reason = "", detail: str = "") -> Decision:
        """Tells the ledger how a trial ended; told again, the first ending stands, and nobody is told."""
        if self._ledger.tell(number, ending, reason, detail):
            self._num_open -= 1
            self._to_confirm = None  # by now others may be the best, or a training be lost
            self._listener("end", self._ledger.record(number))
        return "stop"

    def order_of(self, number: int) -> Order:
        """The order of a trial that was handed out, as it stands in the ledger by now."""
        return self._order(self._ledger.record(number))

    def _order(self, record: TrialRecord) -> Order:
        return Order(
            number=record.number,
            config=_at_once(self._teachers.name_folders(record), record.micro_batch_size),
            folder=str(trial_folder(self._folder, record.number)),
            known_reports=len(record.reports),
            data_hashes=self._attributes.get("data_hashes"),
            encoder_sha256=self._attributes.get("encoder_sha256"),
            storage=None if self._storage is None else trial_place(self._storage, record.number),
        )

    def _sampler(self, number: int) -> Any:
        return make_sampler(self._settings.searcher, self._settings.seed, number)


def _at_once(config: dict[str, Any], micro_batch_size: int | None) -> dict[str, Any]:
    """A config's tree with so many examples of a batch computed at once; None: as it is."""
    return config if micro_batch_size is None else {**config, "data": {**config["data"], "micro_batch_size": micro_batch_size}}
