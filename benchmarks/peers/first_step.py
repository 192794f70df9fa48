"""`python -m benchmarks.peers.first_step`: the same for `transformers` in a plain loop; its `Trainer` takes longer.

As a worker of Ray Tune it begins with Tune's import, like ours; and it is given as many rows as it needs.
"""

import time
from dataclasses import replace

import ray.tune  # noqa: F401 - as in every worker of Tune

from benchmarks.peers.cs224n_loop import Cs224nLoop
from benchmarks.workload import Workload
from trainables.data.sample import make_sample


def main() -> None:
    """Loads tokenizer and encoder, tokenises a batch, trains a step, prints the monotonic clock in seconds."""
    workload = replace(Workload(), num_steps=1)
    few = make_sample(rows_per_task=(workload.batch_size, 2, 0))
    Cs224nLoop(workload, {task: splits["train"] for task, splits in few.items()}).run()
    print(time.monotonic())


if __name__ == "__main__":
    main()
