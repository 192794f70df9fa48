from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from benchmarks.peers.plain_search import NAMES, optuna_space, part_of
from benchmarks.search_workload import SearchWorkload
from search_spaces.domains import Categorical, Float, Int
from search_spaces.space import Dimension, Space
from trainables.data.rows import Rows


def test_every_domain_has_its_distribution() -> None:
    dimensions = (
        Dimension("optimizer.lr", Float(1e-6, 1e-3, log=True)),
        Dimension("optimizer.weight_decay", Float(0, 0.1)),
        Dimension("data.batch_size", Int(8, 64, log=True)),
        Dimension("heads.*.dropout", Categorical((0.1, 0.3))),
    )
    assert optuna_space(Space("some", dimensions)) == {
        "learning_rate": FloatDistribution(1e-6, 1e-3, log=True),
        "weight_decay": FloatDistribution(0, 0.1),
        "per_device_train_batch_size": IntDistribution(8, 64, log=True),
        "dropout": CategoricalDistribution((0.1, 0.3)),
    }


def test_the_whole_space_of_the_benchmark_is_said() -> None:
    space = Space.read(Path(SearchWorkload().space))
    assert set(optuna_space(space)) == set(NAMES.values())
    assert {dimension.path for dimension in space.dimensions} == set(NAMES)


@pytest.mark.parametrize(
    "dimension",
    [
        Dimension("encoder.pooling", Categorical(("cls", "mean"))),
        Dimension("optimizer.lr", Float(1e-6, 1e-3), when={"optimizer.name": ("adamw",)}),
    ],
)
def test_what_cannot_be_said_is_named(dimension: Dimension) -> None:
    with pytest.raises(ValueError, match=dimension.name):
        optuna_space(Space("some", (dimension,)))


def test_part_of_dev_keeps_rows_and_labels_together() -> None:
    rows = Rows([str(n) for n in range(20)], ([f"a{n}" for n in range(20)],), np.arange(20, dtype=np.float32))
    part = part_of(rows, 0.25)
    assert part.num_rows == 5
    assert [int(label) for label in part.labels] == [int(name) for name in part.ids] == [int(s[1:]) for s in part.sentences[0]]
