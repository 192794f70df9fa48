"""Each contestant does one small turn, over the same tokens."""

import pytest

from benchmarks.ceiling import MatrixProducts
from benchmarks.ours import OurEvaluation, OurTrainer
from benchmarks.workload import Workload

SMALL = Workload(batch_size=2, num_steps=3)


def test_ours_trains_and_scores() -> None:
    for contestant in (OurTrainer(SMALL, {}), OurEvaluation(SMALL), MatrixProducts(SMALL)):
        for _ in range(2):
            tokens, seconds = contestant.run()
            assert tokens > 0 and seconds > 0


@pytest.mark.filterwarnings("ignore")  # what transformers and accelerate warn of is not ours
def test_the_peers_train_on_the_same_tokens() -> None:
    from benchmarks.peers.cs224n_loop import Cs224nLoop
    from benchmarks.peers.hf_trainer import HfTrainer

    tables = OurTrainer(SMALL, {}).trainer.tables
    lengths = [length for table in tables.values() for length in table.sequence_lengths.tolist()]
    hf, loop = HfTrainer(SMALL, {"train_sampling_strategy": "group_by_length"}), Cs224nLoop(SMALL)
    assert [len(row["input_ids"]) for row in hf.rows] == lengths
    num_rows = SMALL.batch_size * SMALL.num_steps
    for contestant in (hf, loop):
        tokens, seconds = contestant.run()
        assert seconds > 0
        assert min(lengths) * num_rows <= tokens <= max(lengths) * num_rows
