"""Optuna's tables, read and written a trial at a time, so that each event of a trial is one transaction.

Optuna's own calls write one value each, with several queries before it: to ask for a trial of 31 parameters took 50 ms, to read
5,000 of them 8 s, and a kill between two calls left half an event.  Here an event stands whole or not at all.  What is written
is what Optuna itself would have written, so that it, its dashboard and its importances read it; a test holds both side by side.
The tables' classes are private to Optuna: its version is pinned, and another one that moves them fails at import.
"""

import contextlib
import copy
import datetime
import functools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import Connection

_TRIALS, _PARAMS, _VALUES, _SCORES, _USER, _SYSTEM = (
    model.__table__
    for model in (
        models.TrialModel,
        models.TrialParamModel,
        models.TrialValueModel,
        models.TrialIntermediateValueModel,
        models.TrialUserAttributeModel,
        models.TrialSystemAttributeModel,
    )
)
_STUDY_ATTRIBUTES = {"user": models.StudyUserAttributeModel.__table__, "system": models.StudySystemAttributeModel.__table__}
_MAX_IDS = 500
"""Trials named in one query; SQLite takes 32,766 parameters, older ones 999."""

_json_to_distribution = functools.lru_cache(maxsize=1000)(json_to_distribution)


@contextlib.contextmanager
def transaction(engine: sa.Engine) -> Iterator[Connection]:
    """What is written within it stands whole afterwards, on the disk, or not at all.

    In SQLite it is the only writer from its beginning on: left to itself, the driver would begin it at the first write, and what
    was read until then, such as whose the ledger is, might be otherwise by now.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def read_trials(connection: Connection, study_id: int, known: Iterable[FrozenTrial] = ()) -> list[FrozenTrial]:
    """All trials of a study by number.

    Args:
        connection: to the store.
        study_id: of the study.
        known: what was read before; what had ended then is not read again.
    """
    ended = {trial._trial_id: trial for trial in known if trial.state.is_finished()}
    heads = connection.execute(sa.select(_TRIALS).where(_TRIALS.c.study_id == study_id).order_by(_TRIALS.c.number)).all()
    new = [head.trial_id for head in heads if head.trial_id not in ended]
    queries = _queries_for(study_id, new if ended else None)
    params, values, scores, user, system = (
        _rows_of(connection, table, queries) for table in (_PARAMS, _VALUES, _SCORES, _USER, _SYSTEM)
    )
    return [
        ended.get(head.trial_id)
        or FrozenTrial(
            number=head.number,
            state=head.state,
            value=None,
            values=[_stored_value(row) for row in values[head.trial_id]] or None,
            datetime_start=_local(head.datetime_start),
            datetime_complete=_local(head.datetime_complete),
            params={row.param_name: _distribution(row).to_external_repr(row.param_value) for row in params[head.trial_id]},
            distributions={row.param_name: _distribution(row) for row in params[head.trial_id]},
            user_attrs={row.key: json.loads(row.value_json) for row in user[head.trial_id]},
            system_attrs={row.key: json.loads(row.value_json) for row in system[head.trial_id]},
            intermediate_values={row.step: _stored_score(row) for row in scores[head.trial_id]},
            trial_id=head.trial_id,
        )
        for head in heads
    ]


def write_trial(connection: Connection, study_id: int, before: FrozenTrial | None, after: FrozenTrial) -> int:
    """Writes what has become of a trial, and nothing where nothing has.

    Args:
        connection: within a transaction.
        study_id: of the study.
        before: as it stands in the tables; None: it is new.
        after: as it is to stand: with all that `before` holds, and the same parameters where that has any.

    Returns:
        Its id.
    """
    trial_id = _write_head(connection, study_id, before, after)
    old = before or new_trial(after.number, after.state)
    for table, one, other in ((_SYSTEM, old.system_attrs, after.system_attrs), (_USER, old.user_attrs, after.user_attrs)):
        attributes = _replaced(connection, table.c.key, trial_id, one, other)
        _insert(connection, table, (_attribute_row(trial_id, key, value) for key, value in attributes.items()))
    scores = _replaced(connection, _SCORES.c.step, trial_id, old.intermediate_values, after.intermediate_values)
    _insert(connection, _SCORES, (_score_row(trial_id, step, score) for step, score in scores.items()))
    _insert(connection, _PARAMS, (_param_row(trial_id, name, after) for name in after.params if name not in old.params))
    if after.values and not old.values:
        _insert(connection, _VALUES, [_value_row(trial_id, after.values[0])])
    return trial_id


StudyAttribute = Literal["user", "system"]


def write_study_attribute(connection: Connection, study_id: int, kind: StudyAttribute, key: str, value: Any) -> None:
    """Writes an attribute of a study, plain values only, in place of an older one."""
    table, text = _STUDY_ATTRIBUTES[kind], json.dumps(value)
    own = (table.c.study_id == study_id) & (table.c.key == key)
    if connection.execute(sa.update(table).where(own).values(value_json=text)).rowcount == 0:
        connection.execute(sa.insert(table).values(study_id=study_id, key=key, value_json=text))


def read_study_attribute(connection: Connection, study_id: int, kind: StudyAttribute, key: str, *, keep: bool = False) -> Any:
    """An attribute of a study, None where there is none; with `keep` nobody changes it before the transaction ends."""
    table = _STUDY_ATTRIBUTES[kind]
    query = sa.select(table.c.value_json).where(table.c.study_id == study_id, table.c.key == key)
    text = connection.execute(query.with_for_update(read=True) if keep else query).scalar()
    return None if text is None else json.loads(text)


def new_trial(number: int, state: TrialState, system_attrs: Mapping[str, Any] | None = None) -> FrozenTrial:
    """A trial of which nothing else is known; it has no id yet."""
    nothing: dict[str, Any] = {"params": {}, "distributions": {}, "user_attrs": {}, "intermediate_values": {}}
    nothing |= {"value": None, "datetime_start": None, "datetime_complete": None}
    return FrozenTrial(number=number, state=state, system_attrs=dict(system_attrs or {}), trial_id=-1, **nothing)


def changed(trial: FrozenTrial, **changes: Any) -> FrozenTrial:
    """The same trial with other `params`, `state`, `values` and so on; mappings that are given are added to its own."""
    out = copy.copy(trial)
    for key, value in changes.items():
        setattr(out, key, {**getattr(trial, key), **value} if isinstance(value, Mapping) else value)
    return out


def _write_head(connection: Connection, study_id: int, before: FrozenTrial | None, after: FrozenTrial) -> int:
    values = {
        "state": after.state,
        "datetime_start": _utc(after.datetime_start),
        "datetime_complete": _utc(after.datetime_complete),
    }
    if before is None:
        made = connection.execute(sa.insert(_TRIALS).values(study_id=study_id, number=after.number, **values))
        assert made.inserted_primary_key is not None
        return int(made.inserted_primary_key[0])
    if before.state is not after.state:
        connection.execute(sa.update(_TRIALS).where(_TRIALS.c.trial_id == before._trial_id).values(values))
    return before._trial_id


def _replaced(
    connection: Connection, column: Any, trial_id: int, old: Mapping[Any, Any], new: Mapping[Any, Any]
) -> dict[Any, Any]:
    """What has to be inserted: entries that are new, and those that stand otherwise, whose old rows are removed."""
    stale = [key for key, value in new.items() if key in old and old[key] != value]
    if stale:
        connection.execute(sa.delete(column.table).where(column.table.c.trial_id == trial_id, column.in_(stale)))
    return {key: value for key, value in new.items() if key not in old or key in stale}


def _attribute_row(trial_id: int, key: str, value: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _param_row(trial_id: int, name: str, trial: FrozenTrial) -> dict[str, Any]:
    distribution = trial.distributions[name]
    value, text = distribution.to_internal_repr(trial.params[name]), distribution_to_json(distribution)
    return {"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": text}


def _score_row(trial_id: int, step: int, score: float) -> dict[str, Any]:
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(score)
    return {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}


def _value_row(trial_id: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind}


def _queries_for(study_id: int, trial_ids: Sequence[int] | None) -> list[Any]:
    """Which trials' rows are to be read: those, or (None) all of the study; each entry for one query."""
    if trial_ids is None:
        return [sa.select(_TRIALS.c.trial_id).where(_TRIALS.c.study_id == study_id)]
    return [trial_ids[n : n + _MAX_IDS] for n in range(0, len(trial_ids), _MAX_IDS)]


def _rows_of(connection: Connection, table: Any, queries: Iterable[Any]) -> Mapping[int, list[Any]]:
    """The rows of some trials by trial, in the order in which they were written."""
    rows: dict[int, list[Any]] = defaultdict(list)
    for wanted in queries:
        query = sa.select(table).where(table.c.trial_id.in_(wanted)).order_by(table.primary_key.columns.values()[0])
        for row in connection.execute(query):
            rows[row.trial_id].append(row)
    return rows


def _insert(connection: Connection, table: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    if given := list(rows):
        connection.execute(sa.insert(table), given)


def _distribution(row: Any) -> BaseDistribution:
    return _json_to_distribution(row.distribution_json)


def _stored_value(row: Any) -> float:
    return float(models.TrialValueModel.stored_repr_to_value(row.value, row.value_type))


def _stored_score(row: Any) -> float:
    model = models.TrialIntermediateValueModel
    return float(model.stored_repr_to_intermediate_value(row.intermediate_value, row.intermediate_value_type))


def _utc(moment: datetime.datetime | None) -> datetime.datetime | None:
    """As the tables have it: without a zone, of UTC."""
    return moment.astimezone(datetime.UTC).replace(tzinfo=None) if moment else None


def _local(stored: datetime.datetime | None) -> datetime.datetime | None:
    """As Optuna's trials have it: without a zone, of here."""
    return stored.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None) if stored else None
