"""What the trainings that confirm a search's best have come to, and what may be said of the winner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trainables.config import TrialConfig
from trainables.outcomes import Outcome
from trainables.tasks import TaskSet
from tuner.claim import Estimate, Repeats, estimates
from tuner.confirm import best_trials, failed_by_chance, is_confirmed, is_search_over, not_begun, num_to_come
from tuner.records import TrialRecord, config_in_words, name_in_words
from tuner.settings import SearchSettings

NOT_CONFIRMED = "not confirmed"


@dataclass(frozen=True)
class Confirmed:
    """What became of one config that was trained again.

    Attributes:
        trial: of the search, whose config it is; None: the reference.
        score_search: of that trial, on the rows that it was chosen by; None of the reference, which was not chosen.
        trainings: numbers of the trials that trained it again and have ended well.
        estimate: what it comes to on the rows that were kept.
    """

    trial: int | None
    score_search: float | None
    trainings: tuple[int, ...]
    estimate: Estimate

    @property
    def name(self) -> str:
        """What a person calls it."""
        return name_in_words(self.trial)

    @property
    def in_words(self) -> str:
        """The mean with its interval."""
        mean, low, high = self.estimate.mean, self.estimate.low, self.estimate.high
        return f"{mean:.4f} in the mean of {len(self.trainings)} trainings (95 % interval {low:.4f} to {high:.4f})"

    @property
    def shrinkage(self) -> float | None:
        """What of the score that it was chosen by did not come back."""
        return None if self.score_search is None else self.score_search - self.estimate.mean


@dataclass(frozen=True)
class Confirmation:
    """What was confirmed, and what may be said of it.

    Attributes:
        configs: best mean first; the first is the winner.  Empty where nothing is confirmed.
        num_to_come: trainings that have not ended; at most so many, while the search may still report.
        left_out: a sentence for each config of which a training failed, or is not there, and that therefore cannot win.
        why_not: why nothing is confirmed; empty where something is.
    """

    configs: tuple[Confirmed, ...] = ()
    num_to_come: int = 0
    left_out: tuple[str, ...] = field(default=())
    why_not: str = ""

    @property
    def winner(self) -> Confirmed | None:
        """The config with the best mean; None where nothing is confirmed."""
        return self.configs[0] if self.configs else None

    def config_of(self, number: int) -> Confirmed | None:
        """The config that a trial is a training of; None of a trial of the search, and where its config is not confirmed."""
        return next((config for config in self.configs if number in config.trainings), None)

    def said_of(self, record: TrialRecord) -> str:
        """What may be said of the model of one trial, in one sentence: the claim is of the winner's trainings alone."""
        config = self.config_of(record.number)
        if self.winner is None or config is self.winner:
            return self.claim
        if config is not None:
            return f"not the winner: {config_in_words(config.trial)}, {config.in_words} on rows that the search had not seen"
        if record.confirms is not None:
            return f"{NOT_CONFIRMED}: not all trainings of {config_in_words(record.confirms.trial)} ended well"
        if (of_config := next((config for config in self.configs if config.trial == record.number), None)) is None:
            return f"{NOT_CONFIRMED}: trial {record.number} is not among those that were"
        numbers = ", ".join(map(str, of_config.trainings))
        return f"{NOT_CONFIRMED} itself: its config was trained again as trials {numbers}, {of_config.in_words}"

    @property
    def claim(self) -> str:
        """What may be said of the winner, in one sentence."""
        if self.winner is None:
            return f"{NOT_CONFIRMED}: {self.why_not}"
        found, tried = self.winner.estimate, len(self.configs) - 1
        if self.winner.trial is None:
            return f"the search found nothing better: the reference config itself has the best mean, {found.mean:.4f}"
        interval = f"95 % interval {found.gain_low:+.4f} to {found.gain_high:+.4f}, for the best of {tried}"
        gain = f"{found.gain:+.4f} over the reference config ({interval})"
        if not found.is_better:
            return f"the search found nothing better: the gain of its best, {self.winner.name}, {gain}, may be none"
        return f"{self.winner.name} is better: {found.mean:.4f} on rows and seeds that the search had not seen, {gain}"


def confirmation_of(header: Mapping[str, Any], records: Sequence[TrialRecord]) -> Confirmation:
    """What is confirmed of a search (see `confirmation`), by its header; nothing where that, or a report, cannot be read."""
    if not all(key in header for key in ("settings", "base")):
        return Confirmation(why_not="the ledger does not say what was searched")
    try:
        base = TrialConfig.parse(header["base"])
        return confirmation(records, SearchSettings.parse(header["settings"]), base, base.tasks)
    except ValueError as error:  # of another version, or damaged
        return Confirmation(why_not=f"the ledger holds what cannot be read: {str(error).splitlines()[0]}")


def confirmation(records: Sequence[TrialRecord], settings: SearchSettings, base: TrialConfig, tasks: TaskSet) -> Confirmation:
    """What the trainings that confirm have come to, once all of them have ended.

    Args:
        records: all trials.
        settings: of the search.
        base: the config under every trial.
        tasks: that it is about.
    """
    if settings.study is not None:
        return Confirmation(why_not="a study trains each of its rows in full, and no config again")
    if not is_confirmed(settings, base):
        how = "turned off" if any(record.confirms is not None for record in records) else "not asked for"
        return Confirmation(why_not=f"a confirmation was {how} (--confirm 0)")
    best = best_trials(records, settings.confirm, base)
    if (to_come := _num_to_come_of(best, records, settings, base)) > 0:
        return Confirmation(num_to_come=to_come, why_not=_are_to_come(to_come))
    if not best:
        is_over = is_search_over(records, settings)
        return Confirmation(why_not=f"no trial of the search has had its full budget{'' if is_over else ' yet'}")
    by_config: dict[int | None, list[TrialRecord]] = {None: [], **{trial: [] for trial in best}}
    for record in records:
        if record.confirms is not None and not failed_by_chance(record):
            by_config.setdefault(record.confirms.trial, []).append(record)
    whole = {
        trial: tuple(repeats)
        for trial, repeats in by_config.items()
        if len(repeats) >= settings.confirm_seeds and all(map(_is_good, repeats))
    }
    left_out = tuple(_why_left_out(trial, records) for trial in by_config if trial not in whole)
    if None not in whole or len(whole) == 1:
        what = "of every config" if None in whole else "of the reference"
        return Confirmation(left_out=left_out, why_not=f"a training {what} failed")
    outcomes = partial(_outcomes, tasks=tasks.names)
    found = estimates([Repeats(trial, tuple(map(outcomes, repeats))) for trial, repeats in whole.items()], None, tasks)
    return Confirmation(tuple(_confirmed(estimate, whole, records) for estimate in found), left_out=left_out)


def _are_to_come(number: int) -> str:
    return f"{number} trainings are still to come" if number > 1 else "a training is still to come"


def _num_to_come_of(best: Sequence[int], records: Sequence[TrialRecord], settings: SearchSettings, base: TrialConfig) -> int:
    """Trainings of the reference and of the best so far that have not ended; of all that may come, while the search goes on."""
    names = [None, *best] if best else []
    num_waiting = len(not_begun(records, names, settings.confirm_seeds))
    open_ = sum(r.confirms is not None and r.ended is None and r.confirms.trial in names for r in records)
    if not num_waiting and not open_:
        return 0
    return open_ + max(num_waiting, num_to_come(records, settings, base))


def _confirmed(
    estimate: Estimate, whole: Mapping[int | None, Sequence[TrialRecord]], records: Sequence[TrialRecord]
) -> Confirmed:
    trial = estimate.name
    assert trial is None or isinstance(trial, int)
    trainings = tuple(record.number for record in whole[trial])
    return Confirmed(trial, None if trial is None else records[trial].score, trainings, estimate)


def _is_good(record: TrialRecord) -> bool:
    return record.state == "complete" and "confirm" in (record.best_report or {})


def _why_left_out(trial: int | None, records: Sequence[TrialRecord]) -> str:
    repeats = [record for record in records if record.confirms is not None and record.confirms.trial == trial]
    failed = [record for record in repeats if not _is_good(record)]
    if not failed:
        return f"{name_in_words(trial)}: {len(repeats)} trainings, fewer than the others have"
    reasons = ", ".join(f"trial {record.number} {_why_not_good(record)}" for record in failed)
    return f"{name_in_words(trial)}: {len(failed)} of {len(repeats)} trainings failed ({reasons})"


def _why_not_good(record: TrialRecord) -> str:
    if record.state == "complete":
        return "was not scored on the rows that were kept"
    return record.reason or record.state


def _outcomes(record: TrialRecord, tasks: Sequence[str]) -> dict[str, Outcome]:
    """Raises ValueError where they cannot be read."""
    assert record.best_report is not None
    match record.best_report["confirm"]:
        case {"outcomes": dict(outcomes)} if set(outcomes) >= set(tasks):
            return {task: Outcome.parse(tree) for task, tree in outcomes.items()}
        case wrong:
            raise ValueError(
                f"trial {record.number}: a report's confirm must hold the outcomes of its tasks, but got {str(wrong)[:100]}"
            )
