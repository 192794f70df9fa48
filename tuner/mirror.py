"""Sends a search's runs to MLflow, as a plan of what is missing says (`tuner.mirror_plan`), and its winner to the registry."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from trainables.parts import ConfigError
from tuner.mirror_plan import Create, HeldRun, Log, Operation, SetStatus, count_missing, is_whole, plan_run
from tuner.mirror_runs import CHILD_CURVE, PARENT_CURVE, SEARCH_TAG, TRIAL_TAG, Artifact, WantedRun
from tuner.mlflow_store import connect
from tuner.registry import Registered, Winner, register

_PARENT_TAG = "mlflow.parentRunId"
_REFUSED = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")


class Mirror:
    """Sends what MLflow lacks of one search.

    Attributes:
        sent: operations done so far, by kind (`runs`, `reports`, `files`).
        settled: trials that have ended and were shown whole; none after an error other than a refused run.
        registered: what came of the last registration.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.sent: Counter[str] = Counter()
        self._uri = tracking_uri
        self._client: Any = None
        self._experiment_id = ""
        self._held: dict[int | None, HeldRun] | None = None  # None: to be read back
        self.settled: set[int] = set()
        self.registered: Registered | None = None
        self._last_known: dict[int | None, HeldRun] | None = None

    def send(self, wanted: Mapping[int | None, WantedRun]) -> None:
        """Sends all that is missing, the parent first.  A run that MLflow refuses does not keep the others back.

        Raises:
            Exception: whatever MLflow raised; what it holds is read back the next time.
        """
        held = self._last_known = self._known(wanted)
        self._held, settled, self.settled = None, self.settled, set()
        refused: dict[int | None, Exception] = {}
        for trial, run in wanted.items():
            try:
                self._send_run(trial, run, held)
            except Exception as error:
                if trial is None or getattr(error, "error_code", "") not in _REFUSED:
                    raise
                refused[trial] = error
        sent = (trial for trial, run in wanted.items() if run.is_final and trial not in refused)
        self.settled = settled | {trial for trial in sent if trial is not None}
        if refused:
            raise next(iter(refused.values()))
        self._held = held

    def register(self, winner: Winner, *, crown: bool = False) -> Registered:
        """Registers a model whose trial was sent (see `tuner.registry.register`).

        Raises:
            ConfigError: MLflow holds no run of the trial.
            Exception: whatever MLflow raised.
        """
        run = (self._held or {}).get(winner.trial)
        if run is None:
            raise ConfigError([f"trial {winner.trial} has no run in MLflow, and so its model cannot be registered"])
        self.registered = register(self._client, self._experiment_id, run.run_id, winner, crown=crown)
        return self.registered

    def count_missing(self, wanted: Mapping[int | None, WantedRun]) -> tuple[int, int]:
        """Trials and reports that MLflow lacks, as far as is known without asking; all of them where it never answered."""
        return count_missing(wanted, self._last_known)

    def _known(self, wanted: Mapping[int | None, WantedRun]) -> dict[int | None, HeldRun]:
        """What MLflow holds: as remembered since the last success, else read back."""
        if self._held is not None:
            return self._held
        if self._client is None:
            self._client, self._experiment_id = connect(self._uri)
        return _read_back(self._client, self._experiment_id, wanted)

    def _send_run(self, trial: int | None, run: WantedRun, held: dict[int | None, HeldRun]) -> None:
        there = held.get(trial)
        if there is not None and is_whole(run, there):
            return
        if trial is not None:
            run = replace(run, tags={**run.tags, _PARENT_TAG: held[None].run_id})
        for operation in plan_run(run, there):
            self._apply(operation, trial, held)

    def _apply(self, operation: Operation, trial: int | None, held: dict[int | None, HeldRun]) -> None:
        if isinstance(operation, Create):
            run = operation.run
            made = self._client.create_run(self._experiment_id, run.start_ms or None, dict(run.tags), run.name)
            held[trial] = HeldRun(made.info.run_id, tags=dict(run.tags))
            self.sent["runs"] += 1
            return
        there = held[trial]
        if isinstance(operation, Log):
            _log_batch(self._client, there, operation)
            self.sent["reports"] += len(operation.points) if trial is not None else 0
        elif isinstance(operation, SetStatus):
            _set_status(self._client, there, operation)
        else:
            _upload(self._client, there.run_id, operation.artifact)
            self.sent["files"] += 1


def _read_back(client: Any, experiment_id: str, wanted: Mapping[int | None, WantedRun]) -> dict[int | None, HeldRun]:
    """The runs of a search that MLflow holds; histories are read only of those that are not whole."""
    held: dict[int | None, HeldRun] = {}
    for run in _search_runs(client, experiment_id, wanted[None].tags[SEARCH_TAG]):
        trial = int(run.data.tags[TRIAL_TAG]) if TRIAL_TAG in run.data.tags else None
        if trial in held:  # a server that made a run and did not say so was asked again
            client.delete_run(run.info.run_id)
            continue
        there = HeldRun(run.info.run_id, run.info.status, dict(run.data.tags), dict(run.data.params))
        if trial in wanted and not is_whole(wanted[trial], there):
            history = client.get_metric_history(there.run_id, PARENT_CURVE if trial is None else CHILD_CURVE)
            there.steps = {metric.step for metric in history}
        held[trial] = there
    return held


def _search_runs(client: Any, experiment_id: str, search_id: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], f"tags.`{SEARCH_TAG}` = '{search_id}'", order_by=["attributes.start_time ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _log_batch(client: Any, held: HeldRun, log: Log) -> None:
    from mlflow.entities import Metric, Param, RunTag

    metrics = [Metric(key, value, point.timestamp_ms, point.step) for point in log.points for key, value in point.metrics.items()]
    params = [Param(key, value) for key, value in log.params.items()]
    tags = [RunTag(key, value) for key, value in log.tags.items()]
    client.log_batch(held.run_id, metrics, params, tags, synchronous=True)
    held.params |= log.params
    held.tags |= log.tags
    held.steps |= {point.step for point in log.points}


def _set_status(client: Any, held: HeldRun, change: SetStatus) -> None:
    if change.status == "RUNNING":
        client.update_run(held.run_id, status=change.status)
    else:
        client.set_terminated(held.run_id, change.status, change.end_ms or None)
    held.status = change.status


def _upload(client: Any, run_id: str, artifact: Artifact) -> None:
    if artifact.path is None:
        client.log_text(run_id, artifact.text, artifact.name)
    else:
        client.log_artifact(run_id, str(artifact.path), artifact.name.rpartition("/")[0] or None)
