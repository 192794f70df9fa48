"""`python -m trainables.predict`: what an exported model says of sentences, or of the rows of a file.

Exit codes: 0 done; 1 the disk failed; 2 a mistake in what was asked for, nothing was predicted; 130 interrupted.
"""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from trainables.files import write_new
from trainables.predict.request import Asked, Request, look
from trainables.predictions import describe_predictions, in_words, json_lines, prediction_file
from trainables.secrecy import keep_files_private

EXIT_FAILED, EXIT_MISTAKE, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(
    help="Say what an exported model makes of a sentence, or of two for a task of pairs, or of each row of a file.  "
    "Sentences that begin with a dash go behind --."
)
def main(  # noqa: PLR0917 - a command line
    folder: Annotated[Path, Argument(metavar="DIR", help="an exported model, or the folder of a search with one in its best/")],
    task: Annotated[str, Option(help="name of the task, such as sst, qqp or sts")],
    sentences: Annotated[list[str] | None, Argument(metavar="[SENTENCE]...", help="as many as the task reads")] = None,
    file: Annotated[
        Path | None,
        Option(help="rows with the task's columns of text, and of ids if there is one; tabs or commas; -: from standard input"),
    ] = None,
    out: Annotated[Path | None, Option(help="new file for the predictions of --file [standard output]")] = None,
    as_json: Annotated[bool, Option("--json", help="a JSON object a row, with probabilities, on a line of its own")] = False,
) -> None:
    """Looks at everything, then predicts."""
    asked = Asked(folder=folder, task=task, sentences=sentences or (), file=file, out=out)
    try:
        request = look(asked, lambda: typer.get_binary_stream("stdin").read())
        text = _predict(request, is_file=file is not None, as_json=as_json)
        if out is not None:
            write_new(out, text.encode())
    except ValueError as error:
        raise _exit(str(error), EXIT_MISTAKE) from None
    except OSError as error:
        raise _exit(str(error), EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise _exit("interrupted; nothing was written", EXIT_INTERRUPTED) from None
    typer.echo(text, nl=False) if out is None else typer.echo(f"{request.rows.num_rows} predictions in {out}")


def _exit(message: str, code: int) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(code)


def _predict(request: Request, *, is_file: bool, as_json: bool) -> str:
    """What is printed or written; of a file as CS224N's prediction files are, which an export has."""
    from trainables.evaluation import decide  # torch: seconds, and only once there is something to do
    from trainables.predict.model import outputs_of

    task, ids = request.task, request.rows.ids
    outputs = outputs_of(request)
    decided = decide(task, outputs)
    if is_file and not as_json:
        return prediction_file(task, ids, decided)
    told = describe_predictions(task, outputs, decided)
    return json_lines(told, ids if is_file else None) if as_json else f"{in_words(task, told[0])}\n"


if __name__ == "__main__":
    keep_files_private()
    app()
