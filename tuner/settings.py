"""What a search is: every choice that `python -m tuner.search` takes, as one strict value."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from trainables.parts import ConfigError, Part, parse_part
from trainables.secrecy import holds_credentials

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SERVER = re.compile(r"https?://[^\s?#/]+(/[^\s?#]*)?")
_DATABASE = re.compile(r"(postgresql|mysql)(\+\w+)?://\S+")
PASSWORD_IN_URL = re.compile(r"^[^@]*:[^@]*@|[?&]\w*(password|passwd|pwd|token)\w*=", re.IGNORECASE)
SQLITE = "sqlite:///"
_LONGEST_NAME = 256
WITHOUT_LOST = "--without-lost-trials"


class SearchSettings(Part):
    """A search, apart from its space and from the config under it (which stand beside it in the ledger)."""

    space: str = Field("leaderboard", min_length=1, description="name of a space, or a YAML file with one")
    study: str | None = Field(
        None, min_length=1, description="name of a study, whose rows are trained instead of a space searched"
    )
    rows: tuple[str, ...] = Field((), strict=False, description="rows of the study; all where none is named")
    seeds: int = Field(2, ge=1, le=1000, description="how often each row of a study is trained, each time with another seed")
    searcher: Literal["tpe", "random", "grid"] = Field("tpe", description="who proposes configs")
    trials: int = Field(12, ge=1, le=1_000_000, description="trials in all, over all resumptions")
    seed: int = Field(0, ge=0, lt=2**31, description="of the searcher, and of the trials' own seeds")
    early_stopping: Literal["asha", "none"] = Field("asha", description="`none`: every trial gets its full budget")
    reduction_factor: int = Field(3, ge=2, le=100, description="eta: one trial of so many goes on at each rung")
    time_budget_seconds: float | None = Field(None, gt=0, description="stop after so long; what runs then can be resumed")
    hang_limit_seconds: float | None = Field(
        None, ge=5, description="a trial that is silent for longer is ended; null: by its search's reports (tuner.watchdog)"
    )
    concurrency: int | None = Field(None, ge=1, le=10_000, description="trials at once; null: as many as the CPUs and GPUs hold")
    cpus_per_trial: int = Field(1, ge=1, le=1024, description="CPUs, and threads, of each trial")
    gpus_per_trial: float = Field(0.0, ge=0, le=64, description="GPUs of each trial; 0.25: four trials share one")
    audit_share: float = Field(
        0.05, ge=0, le=1, description="of the trials that would be stopped, drawn to run on: so that early stopping can be judged"
    )
    confirm: int = Field(4, ge=0, le=64, description="so many of the best are trained again to be confirmed; 0: none")
    confirm_seeds: int = Field(
        3,
        ge=2,
        le=100,
        description="new seeds that each of them, and the reference, is trained with: one says nothing of the spread",
    )
    keep_models: int = Field(4, ge=1, le=10_000, description="weights are kept for this many best trials")
    ledger: str | None = Field(None, min_length=1, description="database that holds the ledger; null: a file in the folder")
    storage: str | None = Field(
        None, min_length=1, description="where trials' checkpoints and models are stored; null: in the search's folder"
    )
    tracking_uri: str | None = Field(None, min_length=1, description="MLflow server or store; null: mlflow.db beside the search")
    register_as: str | None = Field(
        None, min_length=1, description="name of the winner in MLflow's model registry; null: in none"
    )

    @classmethod
    def parse(cls, tree: Mapping[str, Any]) -> "SearchSettings":
        """The settings that a tree of plain values describes.

        Raises:
            ConfigError: unknown keys, wrong types and broken rules, all at once.
        """
        return parse_part(cls, tree)

    def to_tree(self) -> dict[str, Any]:
        """The settings as plain values; `parse` gives them back."""
        return self.model_dump(mode="json")


def parse_duration(text: str, option: str = "--time-budget") -> float:
    """Seconds of `90s`, `40m`, `2h`, `1h30m` or `1d`; a number without a unit would be guessed at.

    Raises:
        ConfigError: anything else, or nothing at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    written = "".join(number + unit for number, unit in parts)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not parts or written != text.strip() or seconds <= 0:
        raise ConfigError([f"{option}: a duration such as 90s, 40m or 1h30m must be given, but got {text!r}"])
    return seconds


def parse_num_trials(text: str, already: int | None) -> int:
    """Trials in all: `32`, or `+16` for so many more than a search that is resumed holds.

    Args:
        text: as typed.
        already: what the search to be resumed was set to; None for a new one.

    Raises:
        ConfigError: no whole number above 0; `+` without a search to add to; fewer than the search was set to.
    """
    match = re.fullmatch(r"(\+?)(\d{1,9})", text.strip())
    if not match or int(match[2]) == 0:
        raise ConfigError([f"--trials: a whole number such as 32, or +16 to add, must be given, but got {text!r}"])
    number = int(match[2])
    if match[1] and already is None:
        raise ConfigError([f"--trials: {text} adds to a search, so --resume DIR must be given with it"])
    if match[1]:
        return number + (already or 0)
    if already is not None and number < already:
        raise ConfigError([f"--trials: this search was set to {already} trials and can only grow, but got {number}; +N adds N"])
    return number


def parse_tracking_uri(text: str) -> str:
    """The address of an MLflow server or store; a SQLite file's path in it becomes absolute.

    Raises:
        ConfigError: another kind of address, a path, or one with credentials in it: it is written into the ledger, MLflow, logs.
    """
    scheme, colon, rest = text.strip().partition(":")
    uri = scheme.lower() + colon + rest
    if uri.startswith(SQLITE):
        return sqlite_url(_sqlite_file(uri))
    problem = _problem_of_server(uri) if uri.startswith(("http:", "https:")) else _problem_of_database(uri)
    if problem:
        raise ConfigError([f"--tracking-uri: {problem}"])
    return uri


def parse_model_name(text: str) -> str:
    """A name for MLflow's model registry, under which `models:/NAME@ALIAS` finds it.

    The rules are MLflow 3.17's (`mlflow.utils.validation._validate_model_name`), its table's, and those of its addresses.

    Raises:
        ConfigError: every rule that it breaks.
    """
    kept = {
        "it must not be empty": bool(text.strip()),
        f"at most {_LONGEST_NAME} characters": len(text) <= _LONGEST_NAME,
        "no / : or ?": not set(text) & set("/:?"),
        "not . nor anything that begins with ..": text != "." and not text.startswith(".."),
        "printable characters alone": text.isprintable(),
    }
    shown = text if len(text) <= _LONGEST_NAME else f"{text[:50]}... ({len(text)} characters)"
    broken = [rule for rule, is_kept in kept.items() if not is_kept]
    if broken:
        raise ConfigError(f"--register: a name in MLflow's registry: {rule}, but got {shown!r}" for rule in broken)
    return text


def sqlite_url(file: Path) -> str:
    """SQLAlchemy's URL of a SQLite file; quoted where the path as it is would be read as another (`?`, `%41`).

    Not quoted elsewhere: MLflow makes the folder that stands in the URL without reading it as one.
    """
    import sqlalchemy  # most command lines name no store

    plain = f"{SQLITE}{file}"
    if sqlalchemy.make_url(plain).database == str(file):
        return plain
    return sqlalchemy.URL.create("sqlite", database=str(file)).render_as_string()


def _sqlite_file(uri: str) -> Path:
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    if url.query or url.database in {None, "", ":memory:"} or str(url.database).startswith("file:"):
        raise ConfigError(
            [f"--tracking-uri: sqlite:///FILE must name a file, without options, but got {uri.partition('?')[0]!r}"]
        )
    return Path(str(url.database)).expanduser().absolute()


def _problem_of_server(uri: str) -> str:
    if "@" in uri or ("?" not in uri and holds_credentials(uri)):
        return "credentials must not stand in it; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
    return "" if _SERVER.fullmatch(uri) else f"http://HOST:PORT or https://HOST must be given, but got {uri.partition('?')[0]!r}"


def _problem_of_database(uri: str) -> str:
    if PASSWORD_IN_URL.search(uri.partition("://")[2] or uri) or holds_credentials(uri):
        return "a password must not stand in it; the database's client can look for it elsewhere (~/.pgpass, my.cnf)"
    if _DATABASE.fullmatch(uri):
        return ""
    path = f"; a store in a file is {SQLITE}{uri}/mlflow.db" if uri and ":" not in uri else ""
    known = f"http://HOST:PORT, https://HOST, {SQLITE}FILE, postgresql://... or mysql://..."
    return f"{known} must be given, but got {uri!r}{path}"
