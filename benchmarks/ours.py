"""Our trainer as a contestant."""

from typing import Any

from benchmarks.workload import Workload
from trainables.config import TrialConfig
from trainables.trainer import Trainer


class OurTrainer:
    """A report each turn; the scoring of dev is not part of it.

    Args:
        workload: to train on.
        assignments: config path -> value, beside the workload's.
    """

    def __init__(self, workload: Workload, assignments: dict[str, Any]) -> None:
        turns = 1000
        config = TrialConfig().override(
            {
                "data.source": workload.source,
                "data.batch_size": workload.batch_size,
                "num_threads": workload.num_threads,
                "budget_examples": turns * workload.num_steps * workload.batch_size,
                "num_reports": turns,
                "early_dev_share": 0.001,
                **assignments,
            }
        )
        self.trainer = Trainer(config)
        self.tokens = 0.0

    def run(self) -> tuple[float, float]:
        """One turn: tokens, seconds."""
        metrics = self.trainer.advance()
        tokens, self.tokens = metrics["tokens"] - self.tokens, metrics["tokens"]
        return tokens, metrics["train_seconds"]
