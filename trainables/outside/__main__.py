"""`python -m trainables.outside`: rows for `data.more_rows` from texts of another source (best_fit 4.6.2).

Exit codes: 0 done; 1 the disk failed; 2 a mistake in what was asked for, nothing was written; 130 interrupted.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from typer import Option

from trainables.config_parts import PACKAGED_ENCODER
from trainables.outside.choosing import choose_nearest, choose_random, draw_shots, nearest_to
from trainables.outside.request import Asked, Request, look
from trainables.outside.rows_file import option_of, write_rows
from trainables.parts import ConfigError
from trainables.secrecy import keep_files_private

EXIT_FAILED, EXIT_MISTAKE, EXIT_INTERRUPTED = 1, 2, 130
NEAREST_PER_LABEL = 3000
"""Of the texts that have labels (best_fit 4.6.2)."""
LABELLED_PER_LABEL = 1000
"""Of those that a model labels: 5000 for five labels (best_fit 4.6.2)."""

_NONE_OF_THAT_LENGTH = (
    "--choose random takes no more texts of a label and a length in words than its share of the task's own rows has; "
    "--choose nearest does not look at lengths"
)

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help="Make further training rows of a task of single sentences from texts of another source.")
def main(  # noqa: PLR0917 - a command line
    data: Annotated[str, Option(help="folder with the task's own files; sample or hub")],
    texts: Annotated[Path, Option(help="CSV or TSV file with the texts of the other source")],
    out: Annotated[Path, Option(help="file to write, in the task's layout, such as DIR/ids-sst-outside.csv")],
    task: Annotated[str, Option(help="name of the task")] = "sst",
    tasks: Annotated[Path | None, Option(help="YAML file with the tasks, if not the leaderboard's three")] = None,
    text_column: Annotated[str, Option(help="heading of the texts")] = "text",
    label_column: Annotated[str | None, Option(help="heading of the labels; needed without --label-with")] = None,
    labels: Annotated[str | None, Option(help="label in the file = class, such as 1=0,2=1 [the classes stand there]")] = None,
    choose: Annotated[
        Literal["nearest", "random"],
        Option(help="nearest to the mean of their label, or drawn, spread as the task's own rows"),
    ] = "nearest",
    per_label: Annotated[
        int | None,
        Option(min=1, help="rows a label, on average if drawn or labelled [3000; random: as the own rows; --label-with: 1000]"),
    ] = None,
    encoder: Annotated[str, Option(help="encoder that says what is near")] = PACKAGED_ENCODER,
    label_with: Annotated[str | None, Option(help="causal language model that labels: a folder, or a name on the hub")] = None,
    label_names: Annotated[
        str | None, Option(help="of the classes, for --label-with, such as bad,good [sst: the paper's five]")
    ] = None,
    shots: Annotated[int, Option(min=0, help="labelled training rows in the model's prompt")] = 11,
    seed: Annotated[int, Option(min=0, help="of all that is drawn")] = 0,
) -> None:
    """Looks at everything, then chooses, labels and writes."""
    try:
        request = look(
            Asked(
                data=data,
                texts=texts,
                out=out,
                task=task,
                tasks=tasks,
                text_column=text_column,
                label_column=label_column,
                labels=labels,
                choose=choose,
                encoder=encoder,
                label_with=label_with,
                label_names=label_names,
            )
        )
        chance = np.random.default_rng(seed)
        if label_with is None:
            chosen, classes = _choose(request, choose, per_label, chance)
        else:
            chosen, classes = _label(request, label_with, per_label or LABELLED_PER_LABEL, shots, chance)
        if not len(chosen):
            raise ConfigError([f"{texts}: no text can be chosen: {_why_none(request)}"])
        write_rows(out, request.task, [request.texts.texts[number] for number in chosen], classes.tolist())
    except ValueError as error:
        raise _exit(str(error), EXIT_MISTAKE) from None
    except OSError as error:
        raise _exit(str(error), EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise _exit("interrupted; nothing was written", EXIT_INTERRUPTED) from None
    _tell(request, classes, out, data)
    if label_with is None and choose == "random" and len(chosen) < _total(request, per_label):
        typer.echo(f"fewer than the {_total(request, per_label)} wanted: {_NONE_OF_THAT_LENGTH}")


def _exit(message: str, code: int) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(code)


def _choose(request: Request, choose: str, per_label: int | None, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the texts chosen, and their classes."""
    texts, own, own_labels = request.texts, request.own.sentences[0], request.own_labels
    assert texts.labels is not None
    if choose == "random":
        total = _total(request, per_label)
        words, own_words = (np.array([len(text.split()) for text in column], dtype=np.int64) for column in (texts.texts, own))
        chosen = choose_random(words, texts.labels, own_words, own_labels, total=total, chance=chance)
    else:
        vectors, own_vectors = _embed(request)
        chosen = choose_nearest(vectors, texts.labels, own_vectors, own_labels, per_label or NEAREST_PER_LABEL)
    return chosen, texts.labels[chosen]


def _why_none(request: Request) -> str:
    return _NONE_OF_THAT_LENGTH if request.texts.texts else f"all are rows of {request.task.name} already, or empty"


def _total(request: Request, per_label: int | None) -> int:
    """How many texts `--choose random` is to draw."""
    return len(request.own_labels) if per_label is None else per_label * (int(request.task.label_high) + 1)


def _label(
    request: Request, model: str, per_label: int, num_shots: int, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the texts nearest to the mean of all training rows, and the classes that a language model gives them."""
    from trainables.outside.labelling import Labeller

    shots = draw_shots(request.own_labels, num_shots, chance)
    examples = [(" ".join(request.own.sentences[0][row].split()), int(request.own_labels[row])) for row in shots]
    labeller = Labeller(model, request.names, examples)
    vectors, own_vectors = _embed(request)
    chosen = nearest_to(vectors, own_vectors.mean(axis=0), per_label * len(request.names))
    return chosen, np.array([labeller.label(request.texts.texts[number]) for number in chosen], dtype=np.int64)


def _embed(request: Request) -> tuple[np.ndarray, np.ndarray]:
    from trainables.outside.embedding import embed_sentences  # torch: seconds

    assert request.files is not None
    return embed_sentences(request.files, request.texts.texts), embed_sentences(request.files, request.own.sentences[0])


def _tell(request: Request, classes: np.ndarray, out: Path, data: str) -> None:
    texts, count = request.texts, Counter(classes.tolist())
    typer.echo(f"{len(texts.texts)} texts; left out: {texts.num_left_out} with an empty cell, {texts.num_known} known already")
    for label in range(int(request.task.label_high) + 1):
        name = f" ({request.names[label]})" if request.names else ""
        typer.echo(f"label {label}{name}: {count[label]} rows")
    typer.echo(f"{len(classes)} rows in {out}; use them with")
    typer.echo(option_of(out, request.task, data))


if __name__ == "__main__":
    keep_files_private()
    app()
