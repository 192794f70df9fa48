"""The best of a search, trained again: which configs, with which seeds.  What came of it: `tuner.confirmation`.

Once all trials of a search have ended, the best few of those with their full budget and the reference (the config that every
trial starts from) are trained again with new seeds, as trials of the same ledger, and judged on the part of dev that no trial of
the search has seen.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trainables.config import TrialConfig
from tuner.records import Confirms, TrialRecord, rank, report_seconds, searched
from tuner.settings import SearchSettings

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
    return not_begun(records, [None, *best] if is_over else [None], settings.confirm_seeds)


def not_begun(records: Sequence[TrialRecord], names: Sequence[int | None], num_seeds: int) -> list[Confirms]:
    """Of these configs (None: the reference) the trainings that have not begun, with those that make up for what was lost."""
    begun = {record.confirms for record in records}
    lost = Counter(r.confirms.trial for r in records if r.confirms is not None and failed_by_chance(r))
    most = {name: num_seeds + min(lost[name], num_seeds) for name in names}
    wanted = [Confirms(name, repeat) for repeat in range(2 * num_seeds) for name in names if repeat < most[name]]
    return [confirms for confirms in wanted if confirms not in begun]


def num_to_come(records: Sequence[TrialRecord], settings: SearchSettings, base: TrialConfig) -> int:
    """Trainings that are still to be begun; at most so many, while the search may still report."""
    if is_search_over(records, settings):
        return len(missing(records, settings, base))
    if not is_confirmed(settings, base):
        return 0
    trials = searched(records)
    num_open = max(0, settings.trials - len(trials)) + sum(record.state in {"running", "interrupted"} for record in trials)
    num_best = min(settings.confirm, max(settings.trials, len(trials)))
    return max(0, (num_best + 1) * settings.confirm_seeds - num_held(records, settings, base, num_open=num_open))


def num_held(records: Sequence[TrialRecord], settings: SearchSettings, base: TrialConfig, *, num_open: int) -> int:
    """Trainings that were begun and will count, whatever comes: the reference's, and those of the best that nothing can displace.

    Trainings of trials that led a smaller search and lead no more are none.

    Args:
        records: all trials so far.
        settings: of the search.
        base: the config under every trial.
        num_open: trials of the search that may still come to their full budget, and be better.
    """
    sure = best_trials(records, settings.confirm, base)[: max(0, settings.confirm - num_open)]
    names = [None, *sure]
    return len(names) * settings.confirm_seeds - len(not_begun(records, names, settings.confirm_seeds))


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
    full = sum(map(report_seconds, reports)) / examples * (base.budget_examples or 0)
    num_best = sum(record.state in {"complete", "running"} for record in searched(records))
    num_open = sum(record.state == "running" for record in searched(records))
    held = num_held(records, settings, base, num_open=num_open)
    return seconds_kept(full, settings, slots, num_best=num_best, num_held=held)


def seconds_kept(full_seconds: float, settings: SearchSettings, slots: int, *, num_best: int, num_held: int) -> float:
    """See `seconds_needed`.

    Args:
        full_seconds: of a trial with its full budget.
        settings: of the search.
        slots: trials at once.
        num_best: trials of the search with their full budget, or that may still come to it.
        num_held: trainings that were begun and count (see `num_held`).
    """
    least, wanted = (
        full_seconds * (1 + math.ceil(max(0, (count + 1) * settings.confirm_seeds - num_held) / slots))
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


def failed_by_chance(record: TrialRecord) -> bool:
    """Whether a training failed for what happened to it and not for what its config is."""
    return record.state == "failed" and record.reason in {"lost", "hung", "error"}


def config_of(confirms: Confirms, records: Sequence[TrialRecord], base: TrialConfig, search_seed: int) -> TrialConfig:
    """The config of a training: that of the trial it confirms, or the reference's, with a seed of its own."""
    config = base if confirms.trial is None else TrialConfig.parse(records[confirms.trial].config)
    name = 0 if confirms.trial is None else confirms.trial + 1
    state = np.random.SeedSequence((_SEED, search_seed, name, confirms.repeat)).generate_state(1)
    return config.override({"seed": int(state[0]) % 2**31, "score_confirm": True})
