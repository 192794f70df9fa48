"""What we write into Optuna's tables is what Optuna writes, and what we read is what it reads."""

import contextlib
import math
import tempfile
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.stores import engine_of
from tuner.study_tables import changed, new_trial, read_trials, transaction, write_trial

SPACE = {
    "lr": FloatDistribution(1e-5, 1e-3, log=True),
    "kind": CategoricalDistribution(("linear", "mlp", None, 3, True)),
    "size": IntDistribution(1, 64, log=True),
}
SCORES = st.one_of(st.floats(allow_nan=True, allow_infinity=True, width=64))
TRIALS = st.fixed_dictionaries(
    {
        "params": st.fixed_dictionaries(
            {},
            optional={
                "lr": st.floats(1e-5, 1e-3),
                "kind": st.sampled_from(SPACE["kind"].choices),
                "size": st.integers(1, 64),
            },
        ),
        "attrs": st.dictionaries(st.text("abc:", min_size=1, max_size=4), st.lists(st.integers()), max_size=3),
        "scores": st.dictionaries(st.integers(0, 10**8), SCORES, max_size=3),
        "end": st.sampled_from((None, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)),
    }
)


def by_optuna(study: optuna.Study, plan: dict[str, Any]) -> None:
    study.enqueue_trial(plan["params"])
    trial = study.ask()
    for name in plan["params"]:
        trial._suggest(name, SPACE[name])
    for key, value in plan["attrs"].items():
        trial.set_user_attr(key, value)
    for step, score in plan["scores"].items():
        trial.report(score, step)
    if plan["end"]:
        study.tell(trial, 0.25 if plan["end"] is TrialState.COMPLETE else None, state=plan["end"])


def by_us(study: optuna.Study, plan: dict[str, Any], like: FrozenTrial) -> None:
    """In four transactions, with the times that Optuna's trial has."""
    engine, study_id = engine_of(study), study._study_id

    def write(before: FrozenTrial | None, **changes: Any) -> FrozenTrial:
        after = changed(before or new_trial(like.number, TrialState.WAITING), **changes)
        with transaction(engine) as connection:
            return changed(after, _trial_id=write_trial(connection, study_id, before, after))

    distributions = {name: SPACE[name] for name in plan["params"]}
    trial = write(None, system_attrs={"fixed_params": plan["params"]})
    begun = {"state": TrialState.RUNNING, "datetime_start": like.datetime_start}
    trial = write(trial, params=plan["params"], distributions=distributions, user_attrs=plan["attrs"], **begun)
    trial = write(trial, intermediate_values=plan["scores"])
    if plan["end"]:
        write(trial, state=plan["end"], values=like.values, datetime_complete=like.datetime_complete)


def comparable(trials: list[FrozenTrial]) -> list[Any]:
    """Two trials of equal text are equal: NaN is, too."""
    fields = ("number", "state", "values", "datetime_start", "datetime_complete", "params", "distributions", "user_attrs")
    fields += ("system_attrs", "intermediate_values", "_trial_id")
    return [[repr(_sorted(getattr(trial, field))) for field in fields] for trial in trials]


def _sorted(value: Any) -> Any:
    return sorted(value.items()) if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("empty") / "study.db"
    optuna.create_study(storage=f"sqlite:///{path}", study_name="s", direction="maximize")
    return path.read_bytes()


@contextlib.contextmanager
def new_study(empty: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.db"
        path.write_bytes(empty)
        yield optuna.load_study(storage=f"sqlite:///{path}", study_name="s")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=st.lists(TRIALS, min_size=1, max_size=3))
def test_our_trials_are_optunas(plans: list[dict[str, Any]], empty: bytes) -> None:
    with new_study(empty) as theirs, new_study(empty) as ours:
        for plan in plans:
            by_optuna(theirs, plan)
            by_us(ours, plan, theirs.trials[-1])
        expected = comparable(theirs.trials)
        assert comparable(optuna.load_study(storage=ours._storage, study_name="s").trials) == expected
        for study in (theirs, ours):
            with engine_of(study).connect() as connection:
                assert comparable(read_trials(connection, study._study_id)) == expected


def test_what_had_ended_is_not_read_again_and_the_rest_is(empty: bytes) -> None:
    with new_study(empty) as study:
        ended, running = study.ask(), study.ask()
        study.tell(ended, 0.5)
        engine = engine_of(study)
        with engine.connect() as connection:
            first = read_trials(connection, study._study_id)
        running.set_user_attr("report:1", {"score": 0.5})
        study.ask()
        with engine.connect() as connection:
            second = read_trials(connection, study._study_id, first)
        assert second[0] is first[0]
        assert [trial.user_attrs for trial in second] == [{}, {"report:1": {"score": 0.5}}, {}]


def test_only_the_studys_own_trials_are_read(empty: bytes) -> None:
    with new_study(empty) as study:
        other = optuna.create_study(storage=study._storage, study_name="other")
        other.tell(other.ask(), 0.1)
        study.ask().report(math.nan, 3)
        with engine_of(study).connect() as connection:
            [trial] = read_trials(connection, study._study_id)
        assert (trial.number, list(trial.intermediate_values)) == (0, [3])


def test_a_transaction_that_breaks_leaves_nothing(empty: bytes) -> None:
    with new_study(empty) as study:
        with contextlib.suppress(RuntimeError), transaction(engine_of(study)) as connection:
            write_trial(connection, study._study_id, None, new_trial(0, TrialState.RUNNING, {"a": 1}))
            raise RuntimeError
        assert study.trials == []


def test_what_stands_otherwise_is_replaced(empty: bytes) -> None:
    """An older driver wrote a reason, or a report, and was killed before what came after it."""
    with new_study(empty) as study:
        asked = study.ask()
        asked.set_user_attr("reason", ["error", "its worker died"])
        asked.report(0.1, 3)
        with engine_of(study).connect() as connection:
            [before] = read_trials(connection, study._study_id)
        after = changed(before, user_attrs={"reason": ["", ""], "new": 1}, intermediate_values={3: 0.7})
        with transaction(engine_of(study)) as connection:
            write_trial(connection, study._study_id, before, after)
        [trial] = optuna.load_study(storage=study._storage, study_name="s").trials
        assert trial.user_attrs == {"reason": ["", ""], "new": 1}
        assert trial.intermediate_values == {3: 0.7}


@pytest.mark.parametrize("choices", [((0, 1), (False, True)), ((1, 2), (1.0, 2.0))])
def test_choices_that_python_takes_for_equal_are_written_as_they_are(choices: Any, empty: bytes) -> None:
    with new_study(empty) as study:
        for number, own in enumerate(choices):
            kind = {"kind": CategoricalDistribution(own)}
            trial = changed(new_trial(number, TrialState.RUNNING), params={"kind": own[1]}, distributions=kind)
            with transaction(engine_of(study)) as connection:
                write_trial(connection, study._study_id, None, trial)
        read = optuna.load_study(storage=study._storage, study_name="s").trials
        assert [repr(trial.distributions["kind"].choices) for trial in read] == [repr(own) for own in choices]
        assert [repr(trial.params["kind"]) for trial in read] == [repr(own[1]) for own in choices]
