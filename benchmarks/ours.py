"""Our trainer and our scoring as contestants."""

import time
from typing import Any

import torch

from benchmarks.workload import Workload
from trainables.config import TrialConfig
from trainables.evaluation import evaluate
from trainables.trainer import Trainer

_TURNS = 1000
_DEV_SHARE = 0.1


class OurTrainer:
    """A report each turn; the scoring of dev is not part of it.

    Args:
        workload: to train on.
        assignments: config path -> value, beside the workload's.
    """

    def __init__(self, workload: Workload, assignments: dict[str, Any]) -> None:
        config = TrialConfig().override(
            {
                "data.source": workload.source,
                "data.batch_size": workload.batch_size,
                "num_threads": workload.num_threads,
                "budget_examples": _TURNS * workload.num_steps * workload.batch_size,
                "num_reports": _TURNS,
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


class OurEvaluation:
    """Scores a tenth of dev each turn."""

    def __init__(self, workload: Workload) -> None:
        torch.set_num_threads(workload.num_threads)
        self.trainer = OurTrainer(workload, {}).trainer

    def run(self) -> tuple[float, float]:
        """One turn: tokens, seconds."""
        store, names = self.trainer.store, self.trainer.config.tasks.names
        started = time.perf_counter()
        evaluate(self.trainer.model, store, share=_DEV_SHARE)
        seconds = time.perf_counter() - started
        return _DEV_SHARE * sum(len(store.table(name, "dev").tokens) for name in names), seconds
