"""The winner in MLflow's model registry: an export as a logged model, and a version of a registered model that names it.

Weights are safetensors, and no file is there that MLflow would load code from (`MLmodel`): who wants the model downloads it and
loads it as any export.  The calls go to a client that is passed in; `tuner/mlflow_store.py` makes it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.parts import ConfigError
from trainables.plain_files import read_json
from tuner.console import visible
from tuner.mirror_note import NOT_CONFIRMED
from tuner.mirror_runs import SEARCH_TAG, TRIAL_TAG, search_id
from tuner.settings import parse_model_name

CHAMPION = "champion"
REGISTRATION = "registration"
"""The entry of the ledger's header that says under which name the trial in `best/` is to be registered."""
_CROWNED_TAG = "tritune.champion"
"""On a version that has been made the champion: whoever was made it later stays it when a mirror looks again."""
_SUFFIXES = frozenset({".safetensors", ".json", ".yaml", ".md", ".csv", ".txt", ".sh"})
_MODEL_TYPE = "multitask-bert"
_MAX_CLAIM = 1000
_EXISTS = ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")


@dataclass(frozen=True)
class Winner:
    """An export that is to be registered.

    Attributes:
        name: of the registered model.
        export: folder of the model.
        search: id of the search.
        trial: number of the trial in it.
        score: of its best report.
        claim: what may be said of it, as its export has it; empty: it was not confirmed.
    """

    name: str
    export: Path
    search: str
    trial: int
    score: float
    claim: str = ""

    @property
    def key(self) -> dict[str, str]:
        """The tags that a logged model and a version are found again by."""
        return {SEARCH_TAG: self.search, TRIAL_TAG: str(self.trial)}

    @property
    def tags(self) -> dict[str, str]:
        """All that is said of a version."""
        return {**self.key, "tritune.score": f"{self.score:.6f}", "tritune.claim": visible(self.claim) or NOT_CONFIRMED}


@dataclass(frozen=True)
class Registered:
    """What came of it: the version, and whether it was made now."""

    name: str
    version: str
    is_new: bool

    def __str__(self) -> str:
        return visible(f"registered as {self.name}, version {self.version}{'' if self.is_new else ' (it was there)'}")


def winner_of(folder: Path, header: Mapping[str, Any], export: Path, name: str, *, trial: int | None = None) -> Winner:
    """The model in the folder of an export.

    Args:
        folder: of the search that it must be of.
        header: of the search's ledger.
        export: the folder.
        name: of the registered model.
        trial: that it must be of; None: any.

    Raises:
        ConfigError: no such export, one of another search or trial, files in it that are none of an export's; the name.
    """
    parse_model_name(name)
    try:
        lineage, metrics = read_json(export / "lineage.json"), read_json(export / "metrics.json")
        there, number, score = lineage["search"], int(lineage["trial"]), float(metrics["best_report"]["score"])
        claim = str(metrics.get("claim", ""))[:_MAX_CLAIM]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError([f"{export}: no export that can be registered: {type(error).__name__}: {error}"]) from None
    problems = []
    if there != header.get("id"):
        problems.append(f"{export}: it is of another search; export it anew")
    if trial is not None and number != trial:
        problems.append(f"{export}: trial {trial} is to be registered, but trial {number} lies there; export it anew")
    strange = (
        path for path in sorted(export.rglob("*")) if path.is_symlink() or (path.is_file() and path.suffix not in _SUFFIXES)
    )
    problems += [
        f"{path}: no file of an export; a model that is registered holds {', '.join(sorted(_SUFFIXES))} alone" for path in strange
    ]
    if problems:
        raise ConfigError(problems)
    return Winner(name, export, search_id(header, folder), number, score, claim)


def register(client: Any, experiment_id: str, run_id: str, winner: Winner, *, crown: bool = False) -> Registered:
    """Makes the export a version of a registered model, and that the champion; what is there already is not made again.

    It may be cut short anywhere and called again: the upload is repeated, no version is made twice for a trial of a search.

    Args:
        client: MLflow's.
        experiment_id: where the logged model is shown.
        run_id: of the trial.
        winner: what is registered.
        crown: make it the champion also where it has been that before.

    Raises:
        Exception: whatever MLflow raised.
    """
    version = next(_versions(client, winner), None)
    is_new = version is None
    if version is None:
        version = _new_version(client, experiment_id, run_id, winner)
    for key, value in winner.tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(winner.name, str(version.version), key, value)
    if crown or _CROWNED_TAG not in version.tags:
        client.set_registered_model_alias(winner.name, CHAMPION, str(version.version))
        client.set_model_version_tag(winner.name, str(version.version), _CROWNED_TAG, "true")
    return Registered(winner.name, str(version.version), is_new)


def _versions(client: Any, winner: Winner) -> Iterator[Any]:
    """The versions of this trial under this name; names are compared here, as MLflow's filters have no way to quote a quote."""
    wanted, token = _filter(winner.key), None
    while True:
        page = client.search_model_versions(wanted, page_token=token)
        yield from (version for version in page if version.name == winner.name)
        token = page.token
        if not token:
            return


def _new_version(client: Any, experiment_id: str, run_id: str, winner: Winner) -> Any:
    model = _logged_model(client, experiment_id, run_id, winner)
    try:
        client.create_registered_model(winner.name, description="Winners of tritune searches; the best is `champion`.")
    except Exception as error:
        if getattr(error, "error_code", "") not in _EXISTS:
            raise
    # Not `models:/ID` as source: a store without a server would look for it at MLflow's default address.
    return client.create_model_version(
        winner.name,
        model.artifact_location,
        run_id,
        tags=winner.tags,
        description=_description(winner),
        await_creation_for=0,
        model_id=model.model_id,
    )


def _logged_model(client: Any, experiment_id: str, run_id: str, winner: Winner) -> Any:
    """The export as a logged model; one whose upload was cut short is completed."""
    found = list(client.search_logged_models([experiment_id], _filter(winner.key), max_results=1))
    model = found[0] if found else None
    if model is None:
        name = f"trial-{winner.trial:04d}"
        model = client.create_logged_model(experiment_id, name, run_id, tags=winner.tags, model_type=_MODEL_TYPE)
    if str(model.status) != "READY":
        client.log_model_artifacts(model.model_id, str(winner.export))
        model = client.finalize_logged_model(model.model_id, "READY")
    return model


def _filter(tags: Mapping[str, str]) -> str:
    return " AND ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())


def _description(winner: Winner) -> str:
    """What MLflow's page of the version begins with, in Markdown."""
    return "\n".join(
        [
            f"Trial {winner.trial} of the search `{winner.search}`, score {winner.score:.4f}; its claim: `tritune.claim`.",
            "",
            "Its card is `README.md` among the artifacts. Weights are safetensors; MLflow itself loads none of it:",
            "```python",
            f"folder = mlflow.artifacts.download_artifacts({f'models:/{winner.name}@{CHAMPION}'!r})",
            "from trainables.model.files import load_model",
            "config, model = load_model(Path(folder))",
            "```",
        ]
    )
