"""What is made of a model's outputs: probabilities, words for people and scripts, CS224N's prediction files.  No torch here."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainables.tasks import Task, class_names

YES_OR_NO = ("no", "yes")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities `[num_rows, num_classes]` of logits of that shape, in their type."""
    raised: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return shares


def prediction_file(task: Task, ids: list[str], values: np.ndarray) -> str:
    """The text of one prediction file; classes as whole numbers, paraphrases as 0.0 and 1.0, similarities as they are."""
    numbers = values.tolist() if task.target == "classes" else [float(value) for value in values]
    rows = (f"{row_id} , {number} \n" for row_id, number in zip(ids, numbers, strict=True))
    return f"id \t {task.prediction_header} \n" + "".join(rows)


def describe_predictions(task: Task, outputs: np.ndarray, decided: np.ndarray) -> list[dict[str, Any]]:
    """What a model says of each row, as plain values.

    Args:
        task: whose rows they are.
        outputs: raw, `[num_rows, num_classes]` or `[num_rows]`, as `trainables.evaluation.predict` gives them.
        decided: what `trainables.evaluation.decide` makes of them.

    Returns:
        Of each row `task` and `prediction`: a class's number, 0 or 1, or a score, not clipped, in the unit of the labels.  With
        it for classes `name`, where that is known, and `probabilities`; for yes or no `name` and the `probability` of yes; for
        scores `range`, the lowest and the highest label.
    """
    wide, values = outputs.astype(np.float64), decided.tolist()
    if task.target == "classes":
        names = class_names(task)
        told = [{"name": names[value]} if names else {} for value in values]
        more = [{**name, "probabilities": row} for name, row in zip(told, softmax(wide).tolist(), strict=True)]
    elif task.target == "binary":
        chances = ((1 + np.tanh(wide / 2)) / 2).tolist()
        more = [{"name": YES_OR_NO[value], "probability": chance} for value, chance in zip(values, chances, strict=True)]
    else:
        more = [{"range": [task.label_low, task.label_high]} for _ in values]
    return [{"task": task.name, "prediction": value, **rest} for value, rest in zip(values, more, strict=True)]


def in_words(task: Task, told: dict[str, Any]) -> str:
    """One of `describe_predictions` as lines of `what: value`."""
    if task.target == "classes":
        names = class_names(task) or [""] * task.num_outputs
        chances = ", ".join(f"{place} {chance:.4f}" for place, chance in enumerate(told["probabilities"]))
        name = names[told["prediction"]].replace("_", " ")
        return f"prediction: {told['prediction']}{name and f' ({name})'}\nprobabilities: {chances}"
    if task.target == "binary":
        return f"prediction: {told['name']}\nprobability: {told['probability']:.4f}"
    low, high = told["range"]
    return f"prediction: {told['prediction']:.4f} (labels go from {low:g} to {high:g})"


def json_lines(told: Sequence[dict[str, Any]], ids: Sequence[str] | None = None) -> str:
    """A JSON object a row, on a line of its own; with its `id` first where rows have one."""
    rows = told if ids is None else [{"id": name, **row} for name, row in zip(ids, told, strict=True)]
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
