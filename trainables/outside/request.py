"""What `python -m trainables.outside` is asked for: checked and read before anything is chosen or written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.config_parts import DataConfig
from trainables.data.reading import load_rows
from trainables.data.rows import Rows, Split
from trainables.encoder_files import EncoderFiles, find_encoder
from trainables.files import problems_of_new_file
from trainables.outside.texts import Texts, parse_classes, read_texts, without_known
from trainables.parts import ConfigError, Problems, nearest
from trainables.tasks import CS224N, Task, TaskSet, class_names, read_tasks


@dataclass(frozen=True)
class Asked:
    """The command line's words; `python -m trainables.outside --help` says what each means."""

    data: str
    texts: Path
    out: Path
    task: str
    tasks: Path | None
    text_column: str
    label_column: str | None
    labels: str | None
    choose: str
    encoder: str
    label_with: str | None
    label_names: str | None


@dataclass(frozen=True)
class Request:
    """What is asked for, checked and read.

    Attributes:
        task: whose rows are made.
        splits: its own rows.
        texts: of the other source, without those that are its own rows.
        files: the encoder; None where none is needed.
        names: of the labels, in a prompt; empty where no model labels.
    """

    task: Task
    splits: dict[Split, Rows]
    texts: Texts
    files: EncoderFiles | None
    names: tuple[str, ...]

    @property
    def own(self) -> Rows:
        """The task's training rows."""
        return self.splits["train"]

    @property
    def own_labels(self) -> np.ndarray:
        """Their classes, int64 `[num_rows]`."""
        assert self.own.labels is not None
        return self.own.labels.astype(np.int64)


def look(asked: Asked) -> Request:
    """Checks and reads all that is asked for.

    Raises:
        ConfigError: every mistake in it.
    """
    problems = Problems()
    problems.add(*problems_of_new_file(asked.out))
    problems.add(*_wrong_options(asked))
    if not asked.texts.is_file():
        problems.add(f"--texts {asked.texts}: no such file")
    needs_encoder = asked.label_with is not None or asked.choose == "nearest"
    files = problems.attempt(lambda: find_encoder(asked.encoder)) if needs_encoder else None
    task = problems.attempt(lambda: _find_task(asked.task, asked.tasks))
    if task is None:
        problems.raise_any()
    assert task is not None
    own = problems.attempt(lambda: load_rows(DataConfig(source=asked.data), TaskSet(tasks=(task,))).splits[task.name])
    texts = problems.attempt(lambda: _read(asked, task)) if asked.texts.is_file() else None
    names = problems.attempt(lambda: _names_of(task, asked.label_names)) if asked.label_with else ()
    problems.raise_any()
    assert own is not None
    assert texts is not None
    return Request(task, own, without_known(texts, own.values()), files, names or ())


def _read(asked: Asked, task: Task) -> Texts:
    classes = parse_classes(asked.labels, task) if asked.labels is not None else None
    return read_texts(asked.texts, task, text_column=asked.text_column, label_column=asked.label_column, classes=classes)


def _wrong_options(asked: Asked) -> Iterator[str]:
    if asked.label_with is None and asked.label_column is None:
        yield "labels must come from somewhere: --label-column NAME, or --label-with MODEL"
    if asked.label_with is not None and asked.label_column is not None:
        yield "--label-with MODEL labels the texts: it goes without --label-column"
    if asked.labels is not None and asked.label_column is None:
        yield "--labels says what the labels in --label-column are, but there is none"
    if asked.label_names is not None and asked.label_with is None:
        yield "--label-names is for --label-with MODEL"


def _find_task(name: str, file: Path | None) -> Task:
    known = read_tasks(file) if file else CS224N
    task = known.by_name.get(name)
    if task is None:
        raise ConfigError([f"--task {name}: no such task{nearest(name, known.names)}; tasks are {', '.join(known.names)}"])
    if task.is_pair or task.target == "score":
        kind = "pairs" if task.is_pair else "scores"
        raise ConfigError([f"--task {name}: a task of single sentences with classes must stand here, but it is one of {kind}"])
    return task


def _names_of(task: Task, text: str | None) -> tuple[str, ...]:
    count = int(task.label_high) + 1
    if text is None and (known := class_names(task)):
        return known
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if len(names) != count or len(set(names)) != count:
        raise ConfigError([f"--label-names: {count} different names must stand here for {task.name}, but got {text or 'none'}"])
    return names
