"""Spaces and studies by name, or a space from a file."""

from collections.abc import Iterable
from pathlib import Path

from search_spaces.space import Space
from search_spaces.studies import basics, best_fit, leaderboard, studentbert, three_headed
from search_spaces.study import Study
from trainables.parts import ConfigError, nearest

SPACES: dict[str, Space] = {space.name: space for space in (leaderboard.SPACE, basics.SPACE)}
"""The spaces that `--space` knows by name."""

STUDIES: dict[str, Study] = {study.name: study for paper in (studentbert, best_fit, three_headed) for study in paper.STUDIES}
"""The studies that `--study` knows by name."""


def find_space(name: str) -> Space:
    """The space with this name, or in this YAML file.

    Raises:
        ConfigError: no such space and no such file, or a mistake in the file.
    """
    if name in SPACES:
        return SPACES[name]
    if Path(name).suffix in {".yaml", ".yml"}:
        return Space.read(Path(name))
    raise ConfigError([f"--space: {name!r} is no space{nearest(name, SPACES)}; known are {', '.join(SPACES)}, or a .yaml file"])


def find_study(name: str, rows: Iterable[str] = ()) -> Study:
    """The study with this name, or some of its rows and those that teach them.

    Raises:
        ConfigError: no such study, or no such row.
    """
    if name not in STUDIES:
        raise ConfigError([f"--study: {name!r} is no study{nearest(name, STUDIES)}; python -m search_spaces.list shows them"])
    wanted = tuple(rows)
    return STUDIES[name].only(wanted) if wanted else STUDIES[name]
