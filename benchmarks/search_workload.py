"""What both whole searches do: the same space, seed, trials, reports, rungs and examples of a full trial."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from trainables.config_parts import PACKAGED_ENCODER, SAMPLE_SOURCE

SPACE = Path(__file__).resolve().with_name("space.yaml")


@dataclass(frozen=True)
class SearchWorkload:
    """One search.

    Attributes:
        source: of the data, as `--data` takes it.
        encoder: a name, as `encoder.name` takes it.
        space: file of the space.
        trials: in all.
        budget: examples of a full trial; nine reports are whole batches of 16 and of 32.
        reports: of a full trial, evenly spaced.
        early_dev_share: part of dev that all of them but the last are scored on.
        reduction_factor: ASHA's eta; with 9 reports and 3 its rungs are reports 1 and 3.
        seed: of the sampler and of the trials.
        concurrency: trials at once, one CPU and one thread each.
    """

    source: str = SAMPLE_SOURCE
    encoder: str = PACKAGED_ENCODER
    space: str = str(SPACE)
    trials: int = 16
    budget: int = 1152
    reports: int = 9
    early_dev_share: float = 0.25
    reduction_factor: int = 3
    seed: int = 0
    concurrency: int = 2

    def write(self, file: Path) -> None:
        """As JSON, for a process of its own."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> "SearchWorkload":
        """What `write` has written."""
        return cls(**json.loads(file.read_text(encoding="utf-8")))
