"""A search's ledger as it might be after a night, made in memory: nothing is trained."""

import datetime
from dataclasses import replace
from typing import Any

import numpy as np

from search_spaces.studies.leaderboard import SPACE
from trainables.config import TrialConfig
from trainables.outcomes import Outcome
from tuner.confirm import best_trials
from tuner.records import Confirms, TrialRecord

NUM_REPORTS, STEP, RUNGS = 9, 1000, (1, 3)
START = datetime.datetime(2026, 11, 20, 22, 0)
HEADER: dict[str, Any] = {
    "id": "5eed",
    "name": "night <b>1</b>",
    "settings": {"confirm": 0, "searcher": "tpe", "space": "leaderboard"},
    "space": SPACE.to_tree(),
    "base": TrialConfig().override({"budget_examples": STEP * NUM_REPORTS}).to_tree(),
    "rungs": list(RUNGS),
    "lineage": {"git_commit": "abc", "packages": {"torch": "2.13.0"}},
    "data_hashes": {"sample": "0"},
}
PARTLY: dict[str, Any] = {"heads": {"sst": {}, "qqp": {}, "sts": {}}, "phases": [{"tasks": ["sst"]}]}
"""What a config says that trains one task of three, as a study's row may."""


def records(num_trials: int, seed: int = 0) -> list[TrialRecord]:
    """Trials of the space `leaderboard` whose scores hang on the learning rate and on chance; a third is stopped at each rung."""
    rng = np.random.default_rng(seed)
    base = TrialConfig()
    return [_record(number, rng, base) for number in range(num_trials)]


def confirmed(num_trials: int, seed: int = 0) -> tuple[dict[str, Any], list[TrialRecord]]:
    """Header and records of a search that has confirmed its best four, with three seeds each; early reports are of a part of dev.

    The better the score that a trial was chosen by, the better its trainings; the reference's are like its fifth's.
    """
    rng, trials = np.random.default_rng(seed), [_on_part_of_dev(record) for record in records(num_trials, seed)]
    settings = {"confirm": 4, "confirm_seeds": 3, "trials": num_trials, "searcher": "tpe", "space": "leaderboard"}
    base = TrialConfig().override({"budget_examples": STEP * NUM_REPORTS, "data.confirm_share": 0.4})
    best, out = best_trials(trials, 5, base), list(trials)
    for repeat in range(3):
        for trial in (None, *best[:4]):
            score = float(trials[best[-1] if trial is None else trial].score or 0.5)
            out.append(_confirming(len(out), Confirms(trial, repeat), score, rng))
    return {**HEADER, "settings": settings, "base": base.to_tree()}, out


def _on_part_of_dev(record: TrialRecord) -> TrialRecord:
    return replace(record, reports=tuple({**r, "dev_share": 1.0 if r["report"] == NUM_REPORTS else 0.25} for r in record.reports))


def _confirming(number: int, confirms: Confirms, score: float, rng: np.random.Generator) -> TrialRecord:
    labels = np.linspace(0, 5, 120, dtype=np.float32)
    right = Outcome(correct=np.random.default_rng(1).random(120) < score + 0.01 * rng.normal())
    predicted = labels + np.random.default_rng(2).normal(0, 2, 120) + rng.normal(0, 0.2, 120)
    outcomes = {"sst": right, "qqp": right, "sts": Outcome(predicted=predicted.astype(np.float32), labels=labels)}
    made = confirming(number, confirms.trial, score + 0.01 * float(rng.normal()))
    last = {**made.reports[-1], "confirm": {"score": score, "outcomes": {task: o.to_tree() for task, o in outcomes.items()}}}
    earlier = [{**report, "score": report["score"] - 0.2 / report["report"]} for report in made.reports[:-1]]
    return replace(made, confirms=confirms, started=START, reports=(*earlier, last))


def _record(number: int, rng: np.random.Generator, base: TrialConfig) -> TrialRecord:
    def suggest(_name: str, domain: Any) -> Any:
        values = domain.grid(7)
        return values[int(rng.integers(len(values)))]

    point = SPACE.draw(suggest, base)
    final = 0.5 + 0.05 * float(np.log10(float(point["optimizer.lr"]) / 1e-6)) + 0.02 * float(rng.normal())
    kind = ("complete", "stopped", "stopped", "failed")[int(rng.integers(4))]
    num_reports = {"complete": NUM_REPORTS, "stopped": RUNGS[number % 2], "failed": 2}[kind]
    curve = [final - 0.2 / (at + 1) for at in range(num_reports)]
    reports = tuple(_report(at + 1, score, rng, is_pcgrad=number % 50 == 0) for at, score in enumerate(curve))
    started = START + datetime.timedelta(minutes=number)
    return TrialRecord(
        number,
        kind,  # type: ignore[arg-type]
        point,
        {"varied": dict(point)},  # all that is asked of it is that other points are other configs
        reports,
        passed_rungs=frozenset(rung for rung in RUNGS if rung < num_reports),
        audited=1 if kind == "complete" and number % 20 == 0 else None,
        reason="diverged" if kind == "failed" else "",
        detail="loss is nan <script>alert(1)</script>" if kind == "failed" else "",
        started=started,
        ended=started + datetime.timedelta(minutes=num_reports),
    )


def _report(number: int, score: float, rng: np.random.Generator, *, is_pcgrad: bool) -> dict[str, Any]:
    tilt = 0.05 * float(rng.normal())
    metrics = {"sst_accuracy": score - 0.1 + tilt, "qqp_accuracy": score + 0.1 - tilt, "sts_pearson": 2 * score - 1}
    more = {"conflict_share": 0.4, "gradient_change_sst": -0.1} if is_pcgrad else {}
    return {
        "report": number,
        "budget": number * STEP,
        "score": score,
        "train_seconds": 30.0,
        "eval_seconds": 3.0,
        **metrics,
        **more,
    }


def confirming(number: int, trial: int | None, score: float) -> TrialRecord:
    """A training that confirms, as a trial that no figure of the search may count."""
    reports = tuple({"report": at, "budget": at * STEP, "score": score, "train_seconds": 1.0} for at in range(1, NUM_REPORTS + 1))
    return TrialRecord(number, "complete", {"optimizer.lr": 1e-5}, {}, reports, confirms=Confirms(trial, 0), ended=START)
