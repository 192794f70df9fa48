"""What a trial reports, but for what hangs on the clock and on the process."""

from trainables.config import TrialConfig
from trainables.steps import Metrics
from trainables.trainer import Trainer

CLOCK = ("train_seconds", "eval_seconds", "examples_per_second", "tokens_per_second", "host", "memory_bytes")


def plain(metrics: Metrics) -> Metrics:
    return {key: value for key, value in metrics.items() if key not in CLOCK}


def curve_of(config: TrialConfig) -> list[Metrics]:
    """All reports of a trial that nobody interrupts."""
    trainer = Trainer(config)
    while not trainer.done:
        trainer.advance()
    return [plain(metrics) for metrics in trainer.history]
