"""Spaces by name, or from a file."""

from pathlib import Path

from search_spaces.space import Space
from search_spaces.studies import leaderboard
from trainables.parts import ConfigError, nearest

SPACES: dict[str, Space] = {space.name: space for space in (leaderboard.SPACE,)}
"""The spaces that `--space` knows by name."""


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
