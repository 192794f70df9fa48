"""One search, read whole from its ledger, for all that is reported of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.leaderboard import Leaderboard, leaderboard_of
from search_spaces.space import Space
from search_spaces.study import StudySpace, parse_space
from trainables.config import tasks_of
from trainables.config_parts import DataConfig
from trainables.parts import ConfigError, parse_part
from trainables.tasks import TaskSet
from tuner.ledger import Ledger
from tuner.records import TrialRecord
from tuner.search_folder import is_live


@dataclass(frozen=True)
class Search:
    """A search.

    Attributes:
        folder: where it lies.
        header: of its ledger.
        records: all its trials.
        board: its leaderboard.
        is_live: whether a driver is at work on it.
    """

    folder: Path
    header: Mapping[str, Any]
    records: Sequence[TrialRecord]
    board: Leaderboard
    is_live: bool = False

    @property
    def id(self) -> str:
        """What its ledger is known by; of one so old that it has none, its name."""
        return str(self.header.get("id") or self.name)

    @property
    def name(self) -> str:
        """What a person calls it."""
        return str(self.header.get("name") or self.folder.resolve().name)

    @property
    def settings(self) -> Mapping[str, Any]:
        """That it was begun with."""
        return self.header.get("settings") or {}

    @property
    def tasks(self) -> TaskSet:
        """That it is about."""
        return tasks_of(self.header.get("base") or {})

    @property
    def data(self) -> DataConfig:
        """Where its rows come from."""
        return parse_part(DataConfig, (self.header.get("base") or {}).get("data") or {})

    @property
    def space(self) -> Space | None:
        """What varied; None of a study, whose rows are no ranges, and where the ledger does not say."""
        try:
            found = parse_space(self.header["space"]) if "space" in self.header else None
        except ConfigError:
            return None
        return None if isinstance(found, StudySpace) else found


def read_search(folder: Path, *, live: bool | None = None) -> Search:
    """The search in a folder.

    Args:
        folder: of the search.
        live: whether what has not ended is running; None: whether a driver is at work on it.

    Raises:
        LedgerError: no search there, or none that can be read.
    """
    is_at_work = is_live(folder) if live is None else live
    ledger = Ledger.read(folder)
    header, records = ledger.header, ledger.records(live=is_at_work)
    return Search(folder, header, records, leaderboard_of(header, records), is_at_work)
