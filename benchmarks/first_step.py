"""`python -m benchmarks.first_step`: a worker up to the first training step of a trial on the sample."""

import tempfile
import time
from pathlib import Path

import trainables.trainable  # noqa: F401 - a worker's process begins with it
from benchmarks.workload import Workload
from trainables.config import TrialConfig


def main() -> None:
    """Opens a session as `TrialTrainable` does, trains a step, prints the monotonic clock in seconds."""
    from trainables.session import TrialSession
    from trainables.threads import torch_threads

    workload = Workload()
    config = TrialConfig().override({"data.source": workload.source, "data.batch_size": workload.batch_size})
    with tempfile.TemporaryDirectory() as folder, torch_threads(config.num_threads):
        TrialSession(TrialConfig.parse(config.to_tree()), Path(folder)).trainer._step()
        print(time.monotonic())


if __name__ == "__main__":
    main()
