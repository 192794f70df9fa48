import csv
from pathlib import Path

import pytest

from trainables.tasks import CS224N

Cells = list[list[object]]

GOOD: dict[str, Cells] = {
    "sst": [["a warm film", 3], ["a dull film, sadly", 1], ["It's fine.", 2]],
    "qqp": [["How are you?", "Are you well?", 1.0], ["Who won?", "Who lost?", 0.0]],
    "sts": [["A man sings.", "A guy sings.", 4.8], ["A dog runs.", "Prices fell.", 0.0]],
}


def write_file(path: Path, header: list[str], rows: Cells) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows])


def write_good_folder(folder: Path) -> Path:
    """The six needed files and one test file, each with the rows of GOOD."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in CS224N.tasks:
        for split in ("train", "dev"):
            rows = [[i, f"{split}{i}", *row] for i, row in enumerate(GOOD[task.name])]
            write_file(folder / f"{task.file_stem}-{split}.csv", ["", "id", *task.sentence_columns, task.label_column], rows)
    sst = CS224N.by_name["sst"]
    write_file(folder / "ids-sst-test-student.csv", ["", "id", *sst.sentence_columns], [[0, "t0", "so it goes"]])
    return folder


@pytest.fixture
def cs224n_folder(tmp_path: Path) -> Path:
    return write_good_folder(tmp_path / "cs224n")


@pytest.fixture
def good_rows() -> dict[str, Cells]:
    return GOOD


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
