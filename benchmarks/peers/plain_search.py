"""`python -m benchmarks.peers.plain_search WORKLOAD.json RESULT.json`: the whole search as people glue it together.

Ray Tune around `transformers.Trainer`, `OptunaSearch`, `ASHAScheduler`, `MLflowLoggerCallback` on SQLite.  It trains
as the library does by default, and has the advantages that a few words bring: rows tokenised once, workers that are kept from
trial to trial, no checkpoints, no result files, dev in batches of 64, Ray started as ours is.  What its parts are known to do
wrong stays as it is.  Its batches mix the tasks, where ours take turns; both see as many examples of each.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution

from benchmarks.search_workload import SearchWorkload
from search_spaces.space import Space
from trainables.config_parts import DataConfig
from trainables.data.reading import load_rows
from trainables.data.rows import Rows
from tuner.cluster import local_ray
from tuner.drawing import distribution_of

NAMES = {
    "optimizer.lr": "learning_rate",
    "optimizer.weight_decay": "weight_decay",
    "optimizer.warmup_fraction": "warmup_steps",
    "data.batch_size": "per_device_train_batch_size",
    "heads.*.dropout": "dropout",
}
"""Config path of ours -> the same in the plain search: an argument of `TrainingArguments` (a `warmup_steps` below 1 is a share of
all steps), or the heads' dropout."""
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1"}


def optuna_space(space: Space) -> dict[str, BaseDistribution]:
    """Optuna's distributions of a space of ours.

    Raises:
        ValueError: a dimension that the plain search has no name for; one with a condition, which a dict cannot say.
    """
    for dimension in space.dimensions:
        if dimension.path not in NAMES or dimension.when:
            known = ", ".join(NAMES)
            raise ValueError(f"{dimension.name}: the plain search varies {known}, without conditions, and nothing else")
    return {NAMES[dimension.path]: distribution_of(dimension.domain) for dimension in space.dimensions}


def part_of(rows: Rows, share: float) -> Rows:
    """The same part of dev as early reports of ours are scored on."""
    from trainables.evaluation import stratified_part

    numbers = stratified_part(rows.labels, share)
    sentences = tuple([column[number] for number in numbers] for column in rows.sentences)
    assert rows.labels is not None
    return Rows([rows.ids[number] for number in numbers], sentences, rows.labels[numbers])


def search(workload: SearchWorkload, store: Path) -> list[dict[str, Any]]:
    """The last report of each trial, with `examples`, `score` and `dev_share`.

    Args:
        workload: what is searched.
        store: MLflow's, a SQLite file that is made.

    Raises:
        RuntimeError: a trial failed.
    """
    with local_ray(workload.concurrency, 0) as scratch:
        from ray import tune
        from ray.air.integrations.mlflow import MLflowLoggerCallback
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        from benchmarks.peers.plain_trial import train_trial

        with_rows = tune.with_parameters(train_trial, workload=workload, rows=_token_rows(workload))
        space, asked = optuna_space(Space.read(Path(workload.space))), {"metric": "score", "mode": "max"}
        asha = ASHAScheduler(
            "training_iteration", max_t=workload.reports, grace_period=1, reduction_factor=workload.reduction_factor
        )
        mlflow = MLflowLoggerCallback(f"sqlite:///{store}", experiment_name="plain")
        results = tune.Tuner(
            tune.with_resources(with_rows, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                **asked,
                search_alg=OptunaSearch(space, **asked, seed=workload.seed),
                scheduler=asha,
                num_samples=workload.trials,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(scratch / "results"), callbacks=[mlflow], verbose=0),
        ).fit()
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} trials failed, the first one with:\n{results.errors[0]}")
    return [{key: result.metrics[key] for key in ("examples", "score", "dev_share")} for result in results]


def _token_rows(workload: SearchWorkload) -> Any:
    from benchmarks.peers.multitask_bert import load_tokenizer, tokenised
    from benchmarks.peers.plain_trial import TokenRows

    tokenizer = load_tokenizer(workload.encoder)
    splits = load_rows(DataConfig(source=workload.source)).splits
    train, dev = ({task: own[split] for task, own in splits.items()} for split in ("train", "dev"))
    early = {task: part_of(rows, workload.early_dev_share) for task, rows in dev.items()}
    return TokenRows(*(tokenised(rows, tokenizer) for rows in (train, early, dev)))


def main() -> None:
    """Runs it; MLflow's store lies beside the result."""
    os.environ.update(_QUIET)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    workload, result = SearchWorkload.read(Path(sys.argv[1])), Path(sys.argv[2]).absolute()
    result.write_text(json.dumps(search(workload, result.with_name("mlflow.db"))), encoding="utf-8")


if __name__ == "__main__":
    main()
