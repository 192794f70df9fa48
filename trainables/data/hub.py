"""SST-5, Quora and STS-B from the Hugging Face hub, written once as CS224N files, so that all after it is one path."""

import csv
import io
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from trainables.data.rows import DataError
from trainables.encoder_files import reach_hub
from trainables.files import cache_folder, write_atomically
from trainables.tasks import QQP, SST, STS, Task

HubSplits = Mapping[str, Iterable[Mapping[str, Any]]]
Load = Callable[[str, str | None], HubSplits]

HUB_DATA: tuple[tuple[Task, str, str | None, tuple[str, ...]], ...] = (
    (SST, "SetFit/sst5", None, ("text",)),
    (QQP, "nyu-mll/glue", "qqp", ("question1", "question2")),
    (STS, "nyu-mll/glue", "stsb", ("sentence1", "sentence2")),
)
"""Task, name on the hub, configuration, columns of the text; the label's column is `label`."""

HUB_SPLITS = {"train": "train", "validation": "dev", "test": "test-student"}
"""Names of the hub's splits -> of the CS224N files.  GLUE keeps its test labels, so test files are written without any."""

_INSTEAD = (
    "download them on a machine that reaches the hub (the same command there fills the folder hub/ of its cache), copy that "
    "folder here and give it with --data DIR; or use --data sample"
)


def hub_folder(load: Load | None = None) -> Path:
    """The folder with the hub's data sets as CS224N files; downloaded once into the cache folder.

    Args:
        load: (name on the hub, configuration) -> split -> rows as mappings; by default the `datasets` library does it.

    Raises:
        DataError: `datasets` is not installed, or the hub cannot be reached.
    """
    folder = cache_folder() / "hub" / "cs224n-1"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    load = load or _hub_loader()
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".aside-"))
            try:
                for task, name, configuration, columns in HUB_DATA:
                    write_as_cs224n(aside, task, load(name, configuration), columns)
                aside.rename(folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return folder


def write_as_cs224n(folder: Path, task: Task, splits: HubSplits, columns: tuple[str, ...]) -> None:
    """Writes the splits of one hub data set as the task's CS224N files.

    Row ids are `{task}-{split}-{number}`.  Line ends and tabs inside a text become spaces.

    Raises:
        DataError: a split or a column is missing.
    """
    for hub_split, suffix in HUB_SPLITS.items():
        if hub_split not in splits:
            raise DataError([f"{task.title} on the hub: no split {hub_split!r}; it has {', '.join(splits)}"])
        sink = io.StringIO(newline="")
        writer = csv.writer(sink, delimiter="\t", lineterminator="\n")
        labelled = hub_split != "test"
        writer.writerow(["", "id", *task.sentence_columns, *([task.label_column] if labelled else [])])
        for number, row in enumerate(splits[hub_split]):
            try:
                texts = [" ".join(str(row[column] or "").split()) for column in columns]
                label = [row["label"]] if labelled else []
            except KeyError as error:
                raise DataError([f"{task.title} on the hub: no column {error}; it has {', '.join(row)}"]) from None
            writer.writerow([number, f"{task.name}-{suffix}-{number}", *texts, *label])
        write_atomically(folder / f"{task.file_stem}-{suffix}.csv", sink.getvalue().encode())


def _hub_loader() -> Load:
    """`datasets.load_dataset`, once it is sure that the library and the hub are there."""
    try:
        import datasets
    except ImportError:
        raise DataError(["data=hub needs the `datasets` library: pip install datasets==5.2.0"]) from None
    try:
        reach_hub()
    except Exception as error:
        raise DataError([f"data=hub: the Hugging Face hub cannot be reached ({type(error).__name__}); {_INSTEAD}"]) from None

    def load(name: str, configuration: str | None) -> HubSplits:
        try:
            splits: HubSplits = datasets.load_dataset(name, configuration)
        except Exception as error:
            raise DataError([f"data=hub: {name} cannot be downloaded ({error}); {_INSTEAD}"]) from None
        return splits

    return load
