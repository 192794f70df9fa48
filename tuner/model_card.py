"""The cards that go with an export and with an ensemble of exports."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.config import TrialConfig
from trainables.config_parts import PACKAGED_ENCODER
from trainables.tasks import CS224N, TaskSet
from tuner.card_parts import QUORA_NOTE, about_data, about_lineage, errors_on_dev, kept_part, limits, searched_part
from tuner.confirmation import NOT_CONFIRMED, Confirmed
from tuner.records import TrialRecord, config_in_words, searched_rows

_TAGS = ("sentiment-analysis", "paraphrase-detection", "semantic-textual-similarity")
_TAKEN = (
    "Among the trainings of this config it was taken for its score on the search part; the kept part had a say in the config "
    "alone."
)
_CHOSEN = "The score was looked at to choose this model among all trials of the search, and is therefore on the lucky side."
_ASKED_FOR = (
    "This trial was asked for by its number, whatever the search's other trials score. Its score is on rows that the search "
    "looked at."
)
_ASKED_FOR_AGAIN = "This trial was asked for by its number, whatever the search's other trials score."
_NOT_CONFIRMED = "**Not confirmed** on rows or seeds that the search has not seen."


@dataclass(frozen=True)
class Findings:
    """What was found out of a model when it was exported, and of its score before.

    Attributes:
        dev: its figures (`tuner.dev_figures.dev_figures`).
        rows: task -> split -> rows.
        num_left_out: rows with an empty cell.
        confirmed: its config, which it trained again; None: it did not, or that is not confirmed.
        claim: what may be said of it, in a sentence.
    """

    dev: Mapping[str, Any] | None = None
    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    num_left_out: int = 0
    confirmed: Confirmed | None = None
    claim: str = ""


NOTHING_FOUND = Findings()


def model_card(header: Mapping[str, Any], record: TrialRecord, *, chosen: bool = True, findings: Findings = NOTHING_FOUND) -> str:
    """Markdown for people: what the model is, what it scores and gets wrong, how it was made, how it is used, its limits.

    Args:
        header: of the ledger.
        record: of the trial.
        chosen: it was taken for its score, not by its number.
        findings: of the model.
    """
    encoder = record.config["encoder"]["name"]
    config = TrialConfig.parse(record.config)
    tasks = config.tasks
    formula = "leaderboard formula" if tasks == CS224N else tasks.formula
    rows = [(f"score ({formula})", "score"), *((f"{t.title}, {t.metric}", t.metric_key) for t in tasks.tasks)]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            *(["language: en"] if tasks == CS224N else []),
            f"tags: [{', '.join([*_TAGS, 'multitask'] if tasks == CS224N else [*tasks.names, 'multitask'])}]",
            "---",
            f"# A multitask BERT: {', '.join(task.title for task in tasks.tasks)}",
            "",
            *_warning(record, chosen=chosen),
            f"Trial {record.number} ({_STATES.get(record.state, record.state)}) of the search `{header.get('name')}`, "
            f"{_trained_again(record)}encoder `{encoder}`, data `{record.config['data']['source']}`.",
            "",
            *_scores(rows, record.best_report or {}, config),
            *(
                _confirmed(findings.confirmed, config)
                if findings.confirmed
                else [f"| 95 % interval of the score | {NOT_CONFIRMED} |"]
            ),
            "",
            f"{_how_chosen(record, chosen)} {_said(findings.claim)}",
            "",
            *_use(tasks),
            *(errors_on_dev(tasks, findings.dev, has_kept_part=config.data.confirm_share > 0) if findings.dev else []),
            *limits(config, has_full_budget=record.state == "complete", is_chosen=chosen, confirms=record.confirms is not None),
            "## How it was made",
            f"{_examples(record)} training examples, {record.train_seconds:.0f} s of training. What the search chose:",
            "",
            *_choice(record),
            "",
            "`config.yaml` holds everything, `lineage.json` the code, packages, machine, data hashes and seeds, "
            "`metrics.json` the curve.",
            "",
            *(about_data(config, findings.rows, findings.num_left_out, header.get("data_hashes")) if findings.rows else []),
            *about_lineage(
                record.lineage, seed=record.config.get("seed"), encoder=encoder, encoder_sha256=header.get("encoder_sha256")
            ),
        ]
    )


def _trained_again(record: TrialRecord) -> str:
    if record.confirms is None:
        return ""
    seed = f"seed {record.config['seed']}, number {record.confirms.repeat + 1} of the new ones"
    return f"which trains {config_in_words(record.confirms.trial)} again ({seed}), "


def _scores(rows: Sequence[tuple[str, str]], report: Mapping[str, Any], config: TrialConfig) -> list[str]:
    """What this training scores: on the rows that the search looks at and, where it confirms, on those that were kept."""
    kept = report.get("confirm")
    parts = [(searched_part(config), report), *([(kept_part(config), kept)] if kept else [])]
    return [
        f"| this training, on: | {' | '.join(part for part, _ in parts)} |",
        "|---|" + "---|" * len(parts),
        *(f"| {title} | {' | '.join(f'{part.get(key, math.nan):.4f}' for _, part in parts)} |" for title, key in rows),
    ]


def _confirmed(found: Confirmed, config: TrialConfig) -> list[str]:
    """What all trainings of its config come to."""
    estimate, numbers = found.estimate, ", ".join(map(str, found.trainings))
    lines = [
        "",
        f"| {config_in_words(found.trial)}, trained again as trials {numbers} | {kept_part(config)} |",
        "|---|---|",
        f"| mean score of {len(found.trainings)} trainings | {estimate.mean:.4f} |",
        f"| 95 % interval of that mean | {estimate.low:.4f} to {estimate.high:.4f} |",
    ]
    if found.shrinkage is not None:
        by = f"{found.score_search:.4f} of trial {found.trial}, {searched_part(config)}"
        lines.append(f"| shrinkage from the score that it was chosen by ({by}) | {found.shrinkage:.4f} |")
    return lines


def _how_chosen(record: TrialRecord, chosen: bool) -> str:
    if record.confirms is not None:
        return _TAKEN if chosen else _ASKED_FOR_AGAIN
    return _CHOSEN if chosen else _ASKED_FOR


def _said(claim: str) -> str:
    """The claim as a sentence; in bold that there is none."""
    if not claim or claim == NOT_CONFIRMED:
        return _NOT_CONFIRMED
    sentence = f"{claim[0].upper()}{claim[1:]}."
    return f"**Not confirmed**{sentence[len(NOT_CONFIRMED) :]}" if claim.startswith(NOT_CONFIRMED) else f"**{sentence}**"


def _choice(record: TrialRecord) -> list[str]:
    if record.confirms is not None and record.confirms.trial is None:
        return ["- nothing: the reference config itself, which every trial starts from"]
    return [f"- `{path}` = {value}" for path, value in record.assignment.items()] or ["- nothing"]


def _use(tasks: TaskSet) -> list[str]:
    """How it is asked, loaded, and trained again."""
    task = tasks.tasks[-1]
    sentences = " ".join(f'"{name}"' for name in task.sentence_columns)
    return [
        "## Use",
        "```bash",
        f"python -m trainables.predict . --task {task.name} {sentences}   # or --file ROWS.csv; --help says more",
        "./reproduce.sh                   # trains it again, without Ray",
        "python -m tuner.export . --verify   # the same, and says whether the score is the recorded one",
        "```",
        "```python",
        "from transformers import AutoModel, AutoTokenizer",
        'encoder = AutoModel.from_pretrained("encoder")',
        'tokenizer = AutoTokenizer.from_pretrained("encoder")',
        "",
        "from pathlib import Path",
        "from trainables.model.files import load_model  # with the heads, as tritune runs it",
        'config, model = load_model(Path("."))',
        "```",
        "",
    ]


def _examples(record: TrialRecord) -> int:
    """Training examples that the trial really saw, up to its last report."""
    return int(record.reports[-1].get("examples", record.budget_used)) if record.reports else 0


def _warning(record: TrialRecord, *, chosen: bool) -> list[str]:
    """What is to be said first of a model that did not have its full budget."""
    if record.state == "complete":
        return []
    report = record.best_report or {}
    share, full = report.get("dev_share", 1.0), record.config.get("budget_examples")
    rows = searched_rows(record.config["data"].get("confirm_share", 0.0))
    part = f", and scored on {share:.0%} of {rows}" if share < 1 else ""
    why = "No trial of the search had its full budget when this was exported. " if chosen else ""
    return [
        f"**Not fully trained**: the model after {report.get('examples', record.budget_used)} of {full} examples{part}. "
        f"{why}`config.yaml` trains the full budget, and gives another model.",
        "",
    ]


_STATES = {"running": "cut off, may go on"}

LUCKY = "best_per_task is chosen on the dev rows that it is scored on: its score is on the lucky side."
"""What is to be said wherever the scores of ensembles stand."""


def ensemble_card(
    tasks: TaskSet,
    *,
    how: str,
    data: str,
    command: str,
    rows: Sequence[tuple[str, Mapping[str, float]]],
    sources: Mapping[str, Sequence[str]],
    encoders: Sequence[str],
) -> str:
    """Markdown for people: what the ensemble is made of, what members and ensembles score, how it is made again.

    Args:
        tasks: of all members; their formula makes the score.
        how: whose predictions lie beside the card.
        data: the source of the rows that are scored.
        command: that writes it again.
        rows: the name of each member and ensemble, and its metrics on dev.
        sources: for each task the members that its predictions come from.
        encoders: of the members, by name.
    """
    formula = "leaderboard formula" if tasks == CS224N else tasks.formula
    columns = [(f"score ({formula})", "score"), *((f"{t.title}, {t.metric}", t.metric_key) for t in tasks.tasks)]
    cells = [(f"**{name}**" if name == how else name, [f"{metrics[key]:.4f}" for _, key in columns]) for name, metrics in rows]
    return "\n".join(
        [
            f"# An ensemble, {how}: {', '.join(task.title for task in tasks.tasks)}",
            "",
            f"Predictions of several exported models together, on data `{data}`; there are no weights here.",
            "",
            f"| on dev | {' | '.join(title for title, _ in columns)} |",
            "|---|" + "---|" * len(columns),
            *(f"| {name} | {' | '.join(numbers)} |" for name, numbers in cells),
            "",
            LUCKY,
            *(["", QUORA_NOTE] if PACKAGED_ENCODER in encoders and "qqp" in tasks.names else []),
            "",
            "`average`: the mean of the members' probabilities (softmax, sigmoid) and scores. `best_per_task`: each task from "
            "the member that is best at it on dev. The files in `predictions/` come from:",
            "",
            *(f"- {task.title}: {', '.join(f'`{folder}`' for folder in sources[task.name])}" for task in tasks.tasks),
            "",
            "## Make it again",
            "```bash",
            command,
            "```",
            "`ensemble.yaml` holds the sums of the members' weights and of the data's files, `metrics.json` all metrics.",
            "",
        ]
    )
