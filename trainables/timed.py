"""What a trial takes on a machine, as `trainables.timing` measures it: plain numbers, for those who do without torch."""

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TimedTrial:
    """What a trial takes.

    Attributes:
        begin_seconds: to open encoder and tokens, once a trial.
        seconds_per_example: of training, over the tasks and phases as the whole budget has them.
        num_steps: that this is the mean of, the first one, which sets things up, left out where there are others.
        scoring_seconds_per_row: of dev.
        checkpoint_seconds: to write a checkpoint and the model of the best report, and to remove an older one.
        checkpoint_bytes, model_bytes: of the files.
        memory_bytes: most that the process has held, in a step of the trial's largest batch where time was left for it, else what
            that step would hold by a smaller one.
        device_memory_bytes: the same of the GPU's; 0 where there is none.
        has_largest_batch: whether time was left for it.
    """

    begin_seconds: float
    seconds_per_example: float
    num_steps: int
    scoring_seconds_per_row: float
    checkpoint_seconds: float
    checkpoint_bytes: int
    model_bytes: int
    memory_bytes: int
    device_memory_bytes: int = 0
    has_largest_batch: bool = True
