"""What the contestants of the trainer's benchmarks train on: the same rows, the same encoder, the same batch size."""

from dataclasses import dataclass

from trainables.config_parts import SAMPLE_SOURCE, DataConfig
from trainables.data.reading import load_rows
from trainables.data.rows import Rows


@dataclass(frozen=True)
class Workload:
    """Training of the three tasks with the packaged encoder, pairs read at once, [CLS], dropout 0.1, AdamW.

    Attributes:
        source: of the data, as `--data` takes it.
        batch_size: examples in a step.
        num_steps: in one turn.
        num_threads: CPU threads of a contestant.
    """

    source: str = SAMPLE_SOURCE
    batch_size: int = 32
    num_steps: int = 12
    num_threads: int = 1

    def rows(self) -> dict[str, Rows]:
        """Training rows of each task, as text."""
        return {task: splits["train"] for task, splits in load_rows(DataConfig(source=self.source)).splits.items()}
