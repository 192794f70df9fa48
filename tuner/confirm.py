"""The best of a search, trained again: which configs, with which seeds, and what came of it.

Once all trials of a search have ended, the best few of those with their full budget and the reference (the config that every
trial starts from) are trained again with new seeds, as trials of the same ledger, and judged on the part of dev that no trial of
the search has seen.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainables.config import TrialConfig
from trainables.outcomes import Outcome
from trainables.tasks import TaskSet
from tuner.claim import Estimate, Repeats, estimates
from tuner.records import Confirms, TrialRecord, config_in_words, rank, searched
from tuner.settings import SearchSettings

NOT_CONFIRMED = "not confirmed"
_SEED = 20_150_807


def is_confirmed(settings: SearchSettings, base: TrialConfig) -> bool:
    """Whether a search confirms its best: it was asked to, and has kept rows for that; a study's rows are all trained anyway."""
    return settings.confirm > 0 and settings.study is None and base.data.confirm_share > 0


def num_trainings(settings: SearchSettings, base: TrialConfig) -> int:
    """Trainings that the confirmation takes, at most; each has the full budget."""
    return (settings.confirm + 1) * settings.confirm_seeds if is_confirmed(settings, base) else 0


def missing(records: Sequence[TrialRecord], settings: SearchSettings, base: TrialConfig) -> list[Confirms]:
    """The trainings that are still to be begun, in their order: one seed of every config, then the next.

    While trials of the search may still report, those of the reference alone: which others are the best is not known yet.  One
    that was lost, or hung, or ended in an error, is made up for by another seed, `confirm_seeds` times at most; one that diverged
    or ran out of memory is not, for that is the config's own doing.

    Args:
        records: all trials so far.
        settings: of the search.
        base: the config under every trial.
    """
    if not is_confirmed(settings, base):
        return []
    is_over = is_search_over(records, settings)
    best = best_trials(records, settings.confirm, base)
    if is_over and not best:
        return []
    return _not_begun(records, [None, *best] if is_over else [None], settings.confirm_seeds)


def _not_begun(records: Sequence[TrialRecord], names: Sequence[int | None], num_seeds: int) -> list[Confirms]:
    begun = {record.confirms for record in records}
    lost = Counter(r.confirms.trial for r in records if r.confirms is not None and _is_by_chance(r))
    most = {name: num_seeds + min(lost[name], num_seeds) for name in names}
    wanted = [Confirms(name, repeat) for repeat in range(2 * num_seeds) for name in names if repeat < most[name]]
    return [confirms for confirms in wanted if confirms not in begun]


def num_to_come(records: Sequence[TrialRecord], settings: SearchSettings, base: TrialConfig) -> int:
    """Trainings that are still to be begun; at most so many, while the search may still report."""
    if is_search_over(records, settings):
        return len(missing(records, settings, base))
    return max(0, num_trainings(settings, base) - (len(records) - len(searched(records))))


def seconds_needed(records: Sequence[TrialRecord], settings: SearchSettings, base: TrialConfig, slots: int) -> float | None:
    """What it takes to end the trials that run and then to confirm the best, by the reports so far; None before the first one.

    As many configs are counted as have their full budget, or may still come to it.  Where a search has a time budget no more than
    half of it is kept for them, but always what one config beside the reference takes.

    Args:
        records: all trials so far.
        settings: of the search.
        base: the config under every trial.
        slots: trials at once.
    """
    reports = [report for record in records for report in record.reports]
    examples = sum(record.budget_used for record in records)
    if not examples:
        return None
    seconds = sum(float(report.get("train_seconds", 0.0)) + float(report.get("eval_seconds", 0.0)) for report in reports)
    full = seconds / examples * (base.budget_examples or 0)
    num_best = sum(record.state in {"complete", "running"} for record in searched(records))
    return seconds_kept(full, settings, slots, num_best=num_best, num_begun=len(records) - len(searched(records)))


def seconds_kept(full_seconds: float, settings: SearchSettings, slots: int, *, num_best: int, num_begun: int) -> float:
    """See `seconds_needed`.

    Args:
        full_seconds: of a trial with its full budget.
        settings: of the search.
        slots: trials at once.
        num_best: trials of the search with their full budget, or that may still come to it.
        num_begun: trainings that were begun.
    """
    least, wanted = (
        full_seconds * (1 + math.ceil(max(0, (count + 1) * settings.confirm_seeds - num_begun) / slots))
        for count in (1, max(1, min(settings.confirm, num_best)))
    )
    return wanted if settings.time_budget_seconds is None else min(wanted, max(least, settings.time_budget_seconds / 2))


def is_search_over(records: Sequence[TrialRecord], settings: SearchSettings) -> bool:
    """Whether no trial of the search will report any more."""
    trials = searched(records)
    return len(trials) >= settings.trials and not any(record.state in {"running", "interrupted"} for record in trials)


def best_trials(records: Iterable[TrialRecord], count: int, base: TrialConfig) -> list[int]:
    """Numbers of the best trials of the search that had their full budget, best first; of equal configs the best alone.

    A trial whose config is the reference's, seed apart, is not among them: the reference is trained again anyway.
    """
    out: list[int] = []
    seen = [_without_seed(base.to_tree())]
    for record in rank(records):
        if record.state == "complete" and len(out) < count and (config := _without_seed(record.config)) not in seen:
            seen.append(config)
            out.append(record.number)
    return out


def _without_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "seed": 0}


def config_of(confirms: Confirms, records: Sequence[TrialRecord], base: TrialConfig, search_seed: int) -> TrialConfig:
    """The config of a training: that of the trial it confirms, or the reference's, with a seed of its own."""
    config = base if confirms.trial is None else TrialConfig.parse(records[confirms.trial].config)
    name = 0 if confirms.trial is None else confirms.trial + 1
    state = np.random.SeedSequence((_SEED, search_seed, name, confirms.repeat)).generate_state(1)
    return config.override({"seed": int(state[0]) % 2**31, "score_confirm": True})


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
        return "the reference" if self.trial is None else f"trial {self.trial}"

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
    if not is_confirmed(settings, base):
        return Confirmation(why_not="the search was run without a confirmation (--confirm 0)")
    best = best_trials(records, settings.confirm, base)
    if (to_come := _num_to_come_of(best, records, settings, base)) > 0:
        return Confirmation(num_to_come=to_come, why_not=_are_to_come(to_come))
    if not best:
        is_over = is_search_over(records, settings)
        return Confirmation(why_not=f"no trial of the search has had its full budget{'' if is_over else ' yet'}")
    by_config: dict[int | None, list[TrialRecord]] = {None: [], **{trial: [] for trial in best}}
    for record in records:
        if record.confirms is not None and not _is_by_chance(record):
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
    found = estimates([Repeats(trial, tuple(map(_outcomes, repeats))) for trial, repeats in whole.items()], None, tasks)
    return Confirmation(tuple(_confirmed(estimate, whole, records) for estimate in found), left_out=left_out)


def _are_to_come(number: int) -> str:
    return f"{number} trainings are still to come" if number > 1 else "a training is still to come"


def _num_to_come_of(best: Sequence[int], records: Sequence[TrialRecord], settings: SearchSettings, base: TrialConfig) -> int:
    """Trainings of the reference and of the best so far that have not ended; of all that may come, while the search goes on."""
    names = [None, *best] if best else []
    not_begun = len(_not_begun(records, names, settings.confirm_seeds))
    open_ = sum(r.confirms is not None and r.ended is None and r.confirms.trial in names for r in records)
    if not not_begun and not open_:
        return 0
    return open_ + max(not_begun, num_to_come(records, settings, base))


def _confirmed(
    estimate: Estimate, whole: Mapping[int | None, Sequence[TrialRecord]], records: Sequence[TrialRecord]
) -> Confirmed:
    trial = estimate.name
    assert trial is None or isinstance(trial, int)
    trainings = tuple(record.number for record in whole[trial])
    return Confirmed(trial, None if trial is None else records[trial].score, trainings, estimate)


def _is_good(record: TrialRecord) -> bool:
    return record.state == "complete" and "confirm" in (record.best_report or {})


def _is_by_chance(record: TrialRecord) -> bool:
    """Whether a training failed for what happened to it and not for what its config is."""
    return record.state == "failed" and record.reason in {"lost", "hung", "error"}


def _why_left_out(trial: int | None, records: Sequence[TrialRecord]) -> str:
    repeats = [record for record in records if record.confirms is not None and record.confirms.trial == trial]
    failed = [record for record in repeats if record.state == "failed"]
    name = "the reference" if trial is None else f"trial {trial}"
    if not failed:
        return f"{name}: {len(repeats)} trainings, fewer than the others have"
    reasons = ", ".join(f"trial {record.number} {record.reason or record.state}" for record in failed)
    return f"{name}: {len(failed)} of {len(repeats)} trainings failed ({reasons})"


def _outcomes(record: TrialRecord) -> dict[str, Outcome]:
    """Raises ValueError where they cannot be read."""
    assert record.best_report is not None
    match record.best_report["confirm"]:
        case {"outcomes": dict(outcomes)}:
            return {task: Outcome.parse(tree) for task, tree in outcomes.items()}
        case wrong:
            raise ValueError(
                f"trial {record.number}: a report's confirm must hold the outcomes of its tasks, but got {str(wrong)[:100]}"
            )
