import pytest
from pydantic import Field

from trainables.parts import ConfigError, Part, Problems, nearest, parse_part


def test_the_nearest_word() -> None:
    assert nearest("optimiser", ["data", "optimizer"]) == " (did you mean optimizer?)"
    assert nearest("xyz", ["data", "optimizer"]) == ""


class Shelf(Part):
    sizes: tuple[int, ...] = Field((1,), strict=False, min_length=1, max_length=2)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ("3", "sizes: a list must stand here, but got '3'"),
        ([], "sizes: at least 1 must stand here, but got []"),
        ([1, 2, 3], "sizes: at most 2 may stand here, but got [1, 2, 3]"),
        ([{"a": 1}], "sizes.0: input should be a valid integer, but got {'a': 1}"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_in_plain_words(sizes: object, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_part(Shelf, {"sizes": sizes})
    assert error.value.problems == [said]


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
