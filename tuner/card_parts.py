"""Parts of an export's card: what it gets wrong, its data, its limits, its lineage.  Each is a list of lines of markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.config import TrialConfig
from trainables.config_parts import PACKAGED_ENCODER
from trainables.predictions import YES_OR_NO
from trainables.tasks import CS224N, Task, TaskSet, class_names

MOST_CLASSES = 20
"""Of a task whose confusion matrix is shown."""
NOT_RECORDED = "not recorded"
QUORA_NOTE = (
    "The packaged encoder, all-MiniLM-L6-v2, was trained on sentence pairs that include Quora duplicates: "
    "its Quora accuracy is no measure of how it would do on questions it has never seen."
)
_CS224N_TEXTS = (
    "English alone, and single sentences: of film reviews (SST), questions (Quora), captions, headlines and forum posts (STS-B). "
    "What it does with other languages, with longer texts and with other kinds of text was not measured."
)
_OTHER_TEXTS = "What it does with texts that in language, kind or length are unlike its training rows was not measured."


def searched_part(config: TrialConfig) -> str:
    """What the reports of a trial are scored on."""
    share = config.data.confirm_share
    return f"search part, {100 * (1 - share):.0f} % of dev" if share else "dev"


def kept_part(config: TrialConfig) -> str:
    """What the search looks at to confirm its best, and never before."""
    return f"kept part, {100 * config.data.confirm_share:.0f} % of dev"


def errors_on_dev(tasks: TaskSet, figures: Mapping[str, Any], *, has_kept_part: bool = False) -> list[str]:
    """A table for each task.

    Args:
        tasks: of the model.
        figures: as `tuner.dev_figures.dev_figures` makes them.
        has_kept_part: part of dev was kept for the confirmation.
    """
    both = ", search part and kept part together" if has_kept_part else ""
    lines = ["## What it gets right and wrong on dev", f"All of dev{both}: score {figures['score']:.4f}."]
    for task in tasks.tasks:
        of_task = figures["tasks"][task.name]
        lines += ["", f"**{task.title}**, {of_task['rows']} rows, {task.metric} {of_task[task.metric]:.4f}", ""]
        if task.target == "score":
            error = of_task["mean_absolute_error"]
            lines.append(f"Mean absolute error {error:.4f}, where labels go from {task.label_low:g} to {task.label_high:g}.")
        elif len(of_task["confusion"]) > MOST_CLASSES:
            lines.append(f"{len(of_task['confusion'])} classes: `metrics.json` has the confusion matrix.")
        else:
            lines += _confusion(task, of_task["confusion"])
    return [*lines, ""]


def _confusion(task: Task, counts: Sequence[Sequence[int]]) -> list[str]:
    names = YES_OR_NO if task.target == "binary" else class_names(task)
    called = [f"{place} ({name.replace('_', ' ')})" for place, name in enumerate(names)]
    called = called or [str(place) for place in range(len(counts))]
    return [
        f"| true label, predicted: | {' | '.join(map(str, range(len(counts))))} |",
        "|---|" + "---|" * len(counts),
        *(f"| {name} | {' | '.join(map(str, row))} |" for name, row in zip(called, counts, strict=True)),
    ]


def about_data(
    config: TrialConfig, rows: Mapping[str, Mapping[str, int]], num_left_out: int, hashes: Mapping[str, str] | None
) -> list[str]:
    """Where its rows come from.

    Args:
        config: of the trial.
        rows: task -> split -> how many.
        num_left_out: rows with an empty cell.
        hashes: file (or `sample`, or `teacher FOLDER`) -> sha256.
    """
    data, read = config.data, {split for by_split in rows.values() for split in by_split}
    splits = ["train", "dev", *sorted(read - {"train", "dev", "test"}), "test"]
    lines = ["## Data", f"`{data.source}`; {num_left_out} rows with an empty cell are left out.", ""]
    titles = {"dev": "dev, search part", "confirm": "dev, kept part"} if "confirm" in read else {}
    lines += [f"| rows | {' | '.join(titles.get(split, split) for split in splits)} |", "|---|" + "---|" * len(splits)]
    lines += [
        f"| {task.title} | {' | '.join(str(rows[task.name].get(split, 'none')) for split in splits)} |"
        for task in config.tasks.tasks
    ]
    more = [f"`{file}` ({name})" for name, files in data.more_rows.items() for file in files]
    copies = [f"{count} of each row of {name}" for name, count in data.eda.copies.items() if count]
    shares = [f"{share:.3g} of {name}" for name, share in data.train_share.items() if share < 1]
    lines += ["", *([f"Among the training rows: further ones from {', '.join(more)}."] if more else [])]
    lines += [f"Among the training rows: changed copies (EDA), {', '.join(copies)}."] if copies else []
    lines += [f"Trained on a part of them: {', '.join(shares)}."] if shares else []
    lines += ["The sums (sha256) of what was read:", ""]
    return [*lines, *(f"- `{name}` {total}" for name, total in (hashes or {NOT_RECORDED: ""}).items()), ""]


def limits(config: TrialConfig, *, has_full_budget: bool, is_chosen: bool, confirms: bool = False) -> list[str]:
    """What is to be known before it is used.

    Args:
        config: of the trial.
        has_full_budget: of training.
        is_chosen: it was taken for its score, not by its number.
        confirms: it trains a config again, which the search had chosen before.
    """
    tasks, encoder = config.tasks, config.encoder.name
    trained = {name for phase in config.phases for name in phase.tasks}
    untrained = [task.title for task in tasks.tasks if task.name not in trained]
    scores = [task.title for task in tasks.tasks if task.target == "score"]
    chosen = ", and chose this one by it" if is_chosen else ""
    looked = f"The search looked at {the(searched_part(config))} at each report of each trial{chosen}: the score there flatters."
    confirmed = (
        f"The {kept_part(config)}, is looked at to choose among the configs that were trained again, and for nothing else."
    )
    found = [
        f"{confirmed if confirms else looked} Test was predicted, never scored.",
        _CS224N_TEXTS if tasks == CS224N else _OTHER_TEXTS,
        f"A sequence is cut at {config.data.max_tokens} word pieces.",
        "Its probabilities were not calibrated.",
        *([f"Scores are as the head gives them, and may lie outside the labels' range: {', '.join(scores)}."] if scores else []),
        *([] if has_full_budget else ["It did not have its full budget of training."]),
        *([f"No example was trained of: {', '.join(untrained)}. What it says of these is chance."] if untrained else []),
        *([QUORA_NOTE] if encoder == PACKAGED_ENCODER and "qqp" in tasks.names else []),
    ]
    return ["## Limits", *(f"- {line}" for line in found), ""]


def the(part: str) -> str:
    """A part of dev in the middle of a sentence."""
    return "dev" if part == "dev" else f"the {part},"


def about_lineage(lineage: Mapping[str, Any], *, seed: object, encoder: str, encoder_sha256: object) -> list[str]:
    """Code, packages, machine, encoder, seed; `lineage.json` has more."""
    return [
        "## Lineage",
        f"- code: {code_in_words(lineage)}",
        f"- packages: {packages_in_words(lineage)}",
        f"- machine: {machine_in_words(lineage)}",
        f"- encoder before training: `{encoder}`, sha256 of its weights {encoder_sha256 or NOT_RECORDED}",
        f"- seed: {seed}",
        "",
    ]


def code_in_words(lineage: Mapping[str, Any]) -> str:
    """The commit, and whether that is all of it."""
    commit = lineage.get("git_commit")
    changes = ", with changes that no commit holds" if lineage.get("git_dirty") else ""
    return f"commit {commit}{changes}" if commit else "no checkout, or not recorded"


def packages_in_words(lineage: Mapping[str, Any]) -> str:
    """Python and the packages that matter, in a line."""
    versions = lineage.get("packages")
    known = [f"{name}=={version}" for name, version in versions.items() if version] if isinstance(versions, Mapping) else []
    return " ".join([f"python=={lineage['python']}", *known]) if "python" in lineage else NOT_RECORDED


def machine_in_words(lineage: Mapping[str, Any]) -> str:
    """Processors, memory, GPUs and system."""
    hardware = lineage.get("hardware")
    if not isinstance(hardware, Mapping):
        return NOT_RECORDED
    gpus = hardware.get("gpus") or []
    parts = [f"{hardware.get('num_cpus')} CPUs ({hardware.get('cpu')})", f"{hardware.get('memory_gib')} GiB"]
    return ", ".join([*parts, f"GPUs {', '.join(map(str, gpus))}" if gpus else "no GPU", str(hardware.get("system"))])
