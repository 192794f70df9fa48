"""A trial that did not fit into memory, asked for in smaller pieces: the same batches, half as many examples at once."""

from trainables.config import TrialConfig
from trainables.parts import ConfigError


def halved(config: TrialConfig) -> TrialConfig | None:
    """The config with half as many examples computed at once, rounded up; None where that cannot be.

    It cannot where there is one already, or where a loss needs the whole batch (`trainables.misfits`).
    """
    at_once = min(config.data.micro_batch_size or config.data.batch_size, config.data.batch_size)
    if at_once == 1:
        return None
    try:
        return config.override({"data.micro_batch_size": (at_once + 1) // 2})
    except ConfigError:
        return None
