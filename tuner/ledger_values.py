"""What stands in a ledger is what it should be, before anybody builds on it: the file may come from somebody else.

Only kinds are looked at, and of those values alone that are used as they are; configs, settings and spaces are parsed, and so
checked, where a search goes on.
"""

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial
from pydantic import BaseModel, ConfigDict, ValidationError

_REPORT = "report:"


class _Shape(BaseModel):
    """Kinds of some entries of a mapping; others may be anything."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Settings(_Shape):
    trials: int | None = None
    study: str | None = None
    tracking_uri: str | None = None
    register_as: str | None = None


class _Registration(_Shape):
    name: str
    trial: int


class _Phase(_Shape):
    tasks: list[str] = []


class _Named(_Shape):
    name: str | None = None
    source: str | None = None


class _Config(_Shape):
    budget_examples: int | None = None
    num_reports: int | None = None
    seed: int | None = None
    phases: list[_Phase] = []
    heads: dict[str, Any] = {}
    encoder: _Named = _Named()
    data: _Named = _Named()
    objective: dict[str, Any] = {}


class _Header(_Shape):
    id: str | None = None
    name: str | None = None
    settings: _Settings | None = None
    space: dict[str, Any] | None = None
    base: _Config | None = None
    data_hashes: dict[str, str] | None = None
    left_out: list[str] | None = None
    encoder_sha256: str | None = None
    fixed: list[str] | None = None
    lineage: dict[str, Any] | None = None
    rungs: list[int] | None = None
    slots: int | None = None
    ended: str | None = None
    plan: dict[str, Any] | None = None
    drivers: list[list[str | None]] | None = None
    peak_disk_bytes: int | None = None
    registration: _Registration | None = None


class _Report(_Shape):
    budget: int
    score: float
    report: int | None = None
    examples: int | None = None
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    dev_share: float = 1.0


class _Trial(_Shape):
    assignment: dict[str, bool | int | float | str] = {}
    config: _Config | None = None
    lineage: dict[str, Any] = {}
    reason: list[str] = []
    audited: int | None = None
    confirms: list[int | None] | None = None
    reports: dict[str, _Report] = {}


def check_header(header: Mapping[str, Any]) -> None:
    """Looks at the header.

    Raises:
        ValueError: an entry is of another kind; names it, the rule and the value.
    """
    _check(_Header, header, "header")


def check_trial(number: int, trial: FrozenTrial) -> None:
    """Looks at the trial that stands at the place `number` of the ledger.

    Raises:
        ValueError: its number is another one, or a value of another kind; names it, the rule and the value.
    """
    if trial.number != number or type(trial.number) is not int:
        raise ValueError(f"trials must be numbered from 0 on, but place {number} has the number {_shown(trial.number)}")
    attrs = trial.user_attrs
    reports = {key: value for key, value in attrs.items() if key.startswith(_REPORT)}
    _check(_Trial, {**attrs, "reports": reports}, f"trial {number}")
    if "confirms" in attrs and not _names_a_trial(attrs["confirms"], number):
        raise ValueError(
            f"trial {number}: confirms must be an earlier trial or null and a repeat, but got {_shown(attrs['confirms'])}"
        )
    wrong = [budget for budget in trial.intermediate_values if type(budget) is not int]
    if wrong:
        raise ValueError(f"trial {number}: a budget must be a whole number, but got {_shown(wrong[0])}")


def _names_a_trial(confirms: list[int | None], number: int) -> bool:
    trial, repeat = confirms if len(confirms) == 2 else (number, None)
    return repeat is not None and repeat >= 0 and (trial is None or 0 <= trial < number)


def _check(shape: type[_Shape], values: Mapping[str, Any], what: str) -> None:
    try:
        shape.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"][0].lower() + first["msg"][1:]
        raise ValueError(f"{what}: {place}: {said}, but got {_shown(first['input'])}") from None


def _shown(value: Any) -> str:
    return repr(value)[:100]
