import pytest

from trainables.parts import ConfigError, Problems, nearest


def test_the_nearest_word() -> None:
    assert nearest("optimiser", ["data", "optimizer"]) == " (did you mean optimizer?)"
    assert nearest("xyz", ["data", "optimizer"]) == ""


def test_problems_are_collected_once_each_and_told_at_once() -> None:
    def fail() -> None:
        raise ConfigError(["b: no", "a: no"])

    problems = Problems()
    assert problems.attempt(lambda: 3) == 3
    problems.raise_any()
    assert problems.attempt(fail) is None
    problems.add("b: no", "c: no")
    with pytest.raises(ConfigError) as error:
        problems.raise_any()
    assert error.value.problems == ["b: no", "a: no", "c: no"]
