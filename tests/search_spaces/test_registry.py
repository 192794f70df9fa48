from pathlib import Path

import pytest

from search_spaces.registry import SPACES, find_space
from trainables.config import TrialConfig
from trainables.parts import ConfigError
from trainables.paths import write_yaml


@pytest.mark.parametrize("name", list(SPACES))
def test_each_space_is_found_by_its_name_and_fits_the_default_config(name: str) -> None:
    space = find_space(name)
    assert space.name == name and space.title
    assert space.problems(TrialConfig()) == []
    assert all(dimension.source for dimension in space.dimensions)


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_space_is_found_by_its_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine{suffix}"
    write_yaml({"dimensions": {"optimizer.lr": {"float": [0.1, 0.2]}}}, path)
    assert find_space(str(path)).name == "mine"
    with pytest.raises(ConfigError, match="no such file"):
        find_space(str(tmp_path / f"other{suffix}"))


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        find_space("leaderbord")
    assert caught.value.problems == [
        f"--space: 'leaderbord' is no space (did you mean leaderboard?); known are {', '.join(SPACES)}, or a .yaml file"
    ]
