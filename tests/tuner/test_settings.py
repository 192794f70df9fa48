import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from trainables.parts import ConfigError
from tuner.settings import SearchSettings, parse_duration, parse_num_trials, parse_tracking_uri, sqlite_url

TREES = st.fixed_dictionaries(
    {},
    optional={
        "space": st.text(min_size=1),
        "searcher": st.sampled_from(["tpe", "random", "grid"]),
        "trials": st.integers(1, 10**6),
        "seed": st.integers(0, 2**31 - 1),
        "early_stopping": st.sampled_from(["asha", "none"]),
        "reduction_factor": st.integers(2, 100),
        "time_budget_seconds": st.none() | st.floats(0.1, 1e9),
        "concurrency": st.none() | st.integers(1, 10_000),
        "gpus_per_trial": st.floats(0, 64) | st.integers(0, 64),
        "tracking_uri": st.none() | st.text(min_size=1),
    },
)


@given(TREES)
def test_settings_are_given_back_by_their_tree(tree: dict[str, Any]) -> None:
    settings = SearchSettings.parse(tree)
    again = SearchSettings.parse(json.loads(json.dumps(settings.to_tree(), sort_keys=True)))
    assert again == settings and hash(again) == hash(settings)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        SearchSettings.parse({"trails": 3, "searcher": "bayes", "concurrency": 0, "seed": 1.5})
    assert sorted(caught.value.problems) == [
        "concurrency: input should be greater than or equal to 1, but got 0",
        "searcher: input should be 'tpe', 'random' or 'grid', but got 'bayes'",
        "seed: input should be a valid integer, but got 1.5",
        "trails: unknown key (did you mean trials?)",
    ]


@given(st.integers(0, 30), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_a_duration_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("40m", 2400), ("2h", 7200), ("1h30m", 5400), ("1d", 86400), ("0.5h", 1800), (" 5m ", 300)],
)
def test_some_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "0", "90", "0m", "-5m", "m", "5x", "5 m", "1h30", "h5", "1e3", "nan", "inf", "5m!", "soon"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration(text)
    assert caught.value.problems == [f"--time-budget: a duration such as 90s, 40m or 1h30m must be given, but got {text!r}"]


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_trials_in_all_and_trials_to_add(number: int, already: int) -> None:
    assert parse_num_trials(str(number), None) == number
    assert parse_num_trials(f"+{number}", already) == already + number
    if number >= already:
        assert parse_num_trials(str(number), already) == number
    else:
        with pytest.raises(ConfigError, match=f"was set to {already} trials and can only grow, but got {number}; \\+N adds N"):
            parse_num_trials(str(number), already)


@pytest.mark.parametrize("text", ["", "0", "+0", "-3", "3.5", "many", "+", "++3", "1 2", "9" * 10])
@pytest.mark.parametrize("already", [None, 5])
def test_what_is_no_number_of_trials_is_refused(text: str, already: int | None) -> None:
    with pytest.raises(ConfigError, match="--trials: a whole number such as 32, or \\+16 to add, must be given"):
        parse_num_trials(text, already)


def test_trials_are_added_to_a_search() -> None:
    with pytest.raises(ConfigError, match=r"--trials: \+16 adds to a search, so --resume DIR must be given with it"):
        parse_num_trials("+16", None)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("http://host:5000", "http://host:5000"),
        (" HTTPS://host/mlflow ", "https://host/mlflow"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("mysql+pymysql://host:3306/db", "mysql+pymysql://host:3306/db"),
        ("sqlite:////a/me@work/m.db", "sqlite:////a/me@work/m.db"),
        ("sqlite:///runs/m.db", "sqlite:////here/runs/m.db"),
    ],
)
def test_where_mlflow_may_be(text: str, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "absolute", lambda path: Path("/here") / path)
    assert parse_tracking_uri(text) == uri
    assert parse_tracking_uri(uri) == uri


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://me:s3cret@host", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"),
        ("http://s3cret@host", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"),
        ("http://me:s3/c#ret@host", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"),
        ("http://host?token=s3cret", "http://HOST:PORT or https://HOST must be given, but got 'http://host'"),
        ("postgresql://me:s3cret@host/db", "a password must not stand in it"),
        ("postgresql://me:s3/cret@host/db", "a password must not stand in it"),
        ("mysql://host/db?ssl=1&password=s3cret", "a password must not stand in it"),
        ("me:s3cret@host", "a password must not stand in it"),
    ],
)
def test_credentials_in_the_tracking_uri_are_refused_and_not_repeated(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_tracking_uri(text)
    [problem] = caught.value.problems
    assert problem.startswith("--tracking-uri: ") and words in problem and "s3" not in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/a/runs", "but got '/a/runs'; a store in a file is sqlite:////a/runs/mlflow.db"),
        ("", "must be given, but got ''"),
        ("http://", "must be given, but got 'http://'"),
        ("file:///a", "must be given, but got 'file:///a'"),
        ("sqlite:///", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:///a.db?timeout=3", "must name a file, without options"),
    ],
)
def test_what_is_no_place_for_mlflow_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_tracking_uri(text)
    assert words in str(caught.value)


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1))
def test_a_sqlite_url_is_read_back_as_the_same_file(name: str) -> None:
    file = Path("/folder") / name / "x.db"
    assert sqlalchemy.make_url(sqlite_url(file)).database == str(file)


@pytest.mark.parametrize("name", ["müller", "me@work", "a#b", "50%", "{x}"])
def test_a_sqlite_url_is_not_quoted_without_need(name: str) -> None:
    assert sqlite_url(Path("/home", name)) == f"sqlite:////home/{name}"
