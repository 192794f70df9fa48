"""A small folder of CS224N files, the tiny encoder, and a config over both that trains in seconds."""

import csv
import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tests.trainables.curves import curve_of
from trainables.config import TrialConfig
from trainables.steps import Metrics
from trainables.tasks import CS224N

# Time is not what these tests are about, and the machine may be busy.
settings.register_profile("tritune", deadline=None)
settings.load_profile("tritune")

WORDS = """
    the a film plot cast story is was good bad slow fine how why what do you can dog man plays runs sings guitar
""".split()  # noqa: SIM905
NUM_ROWS = {"train": 24, "dev": 10}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def write_small_folder(folder: Path) -> Path:
    chance = random.Random(0)
    for task in CS224N.tasks:
        for split, num_rows in NUM_ROWS.items():
            with (folder / f"{task.file_stem}-{split}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter="\t")
                writer.writerow(["id", *task.sentence_columns, task.label_column])
                for row in range(num_rows):
                    sentences = [" ".join(chance.choices(WORDS, k=chance.randint(2, 9))) for _ in task.sentence_columns]
                    label = row % (int(task.label_high) + 1) if task.target != "score" else row % 6 * 0.9
                    writer.writerow([f"{split}{row}", *sentences, label])
    return folder


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_folder(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def small_config(small_folder: Path) -> TrialConfig:
    """36 examples in 3 reports: 9 steps of 4."""
    return TrialConfig().override(
        {
            "data.source": str(small_folder),
            "data.batch_size": 4,
            "encoder.name": "tiny",
            "optimizer.lr": 1e-3,
            "budget_examples": 36,
            "num_reports": 3,
            "seed": 7,
        }
    )


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., object]:
    """`make_batch(task, lengths, seed=0)`: random tokens and labels; a pair that is read apart takes twice the lengths."""
    from trainables.data.batching import Batch

    torch = pytest.importorskip("torch")

    def make(task: str, lengths: list[int], *, num_examples: int | None = None, seed: int = 0) -> Batch:
        rng = np.random.default_rng(seed)
        num_examples = num_examples or len(lengths)
        ids = rng.integers(5, 400, sum(lengths))
        kind = CS224N.by_name[task]
        labels = rng.integers(int(kind.label_low), int(kind.label_high) + 1, num_examples).astype(np.float32)
        return Batch(
            task=kind,
            token_ids=torch.from_numpy(ids),
            segment_ids=torch.from_numpy((np.arange(sum(lengths)) % 3 == 0).astype(np.int64)),
            lengths=np.array(lengths, dtype=np.int64),
            num_examples=num_examples,
            labels=torch.from_numpy(labels),
        )

    return make


@pytest.fixture
def pieces_of(make_batch: Callable[..., object]) -> Callable[..., list[object]]:
    """A batch cut into batches of one example each (single sequences)."""

    def cut(batch: object) -> list[object]:
        ends = np.cumsum(batch.lengths)
        return [
            dataclasses.replace(
                batch,
                token_ids=batch.token_ids[end - length : end],
                segment_ids=batch.segment_ids[end - length : end],
                lengths=np.array([length]),
                num_examples=1,
                labels=batch.labels[i : i + 1],
            )
            for i, (end, length) in enumerate(zip(ends, batch.lengths, strict=True))
        ]

    return cut


@pytest.fixture(scope="session")
def curve(small_config: TrialConfig) -> list[Metrics]:
    """Of the small config, which nobody interrupts."""
    return curve_of(small_config)
