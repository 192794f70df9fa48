"""The model card that goes with an export."""

from collections.abc import Mapping
from typing import Any

from trainables.config import TrialConfig
from trainables.config_parts import PACKAGED_ENCODER
from trainables.tasks import CS224N
from tuner.records import TrialRecord

_TAGS = ("sentiment-analysis", "paraphrase-detection", "semantic-textual-similarity")
_QUORA_NOTE = (
    "The packaged encoder, all-MiniLM-L6-v2, was trained on sentence pairs that include Quora duplicates: "
    "its Quora accuracy is no measure of how it would do on questions it has never seen."
)


def model_card(header: Mapping[str, Any], record: TrialRecord) -> str:
    """Markdown for people: what the model is, what it scores, how it was made, how it is loaded."""
    report = record.best_report or {}
    encoder = record.config["encoder"]["name"]
    tasks = TrialConfig.parse(record.config).tasks
    formula = "leaderboard formula" if tasks == CS224N else tasks.formula
    scores = [(f"score ({formula})", "score"), *((f"{t.title}, {t.metric}", t.metric_key) for t in tasks.tasks)]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "language: en",
            f"tags: [{', '.join([*_TAGS, 'multitask'] if tasks == CS224N else [*tasks.names, 'multitask'])}]",
            "---",
            f"# A multitask BERT: {', '.join(task.title for task in tasks.tasks)}",
            "",
            f"Trial {record.number} ({record.state}) of the search `{header.get('name')}`, encoder `{encoder}`, "
            f"data `{record.config['data']['source']}`.",
            "",
            "| on dev | |",
            "|---|---|",
            *(f"| {title} | {report.get(key, float('nan')):.4f} |" for title, key in scores),
            "",
            "The score was looked at to choose this model among all trials of the search, and is therefore on the lucky side; "
            "it is not confirmed on rows or seeds that the search has not seen.",
            *(["", _QUORA_NOTE] if encoder == PACKAGED_ENCODER and "qqp" in tasks.names else []),
            "",
            "## Use",
            "```python",
            "from transformers import AutoModel, AutoTokenizer",
            'encoder = AutoModel.from_pretrained("encoder")',
            'tokenizer = AutoTokenizer.from_pretrained("encoder")',
            "",
            "from pathlib import Path",
            "from trainables.model.files import load_model  # with the heads, as tritune runs it",
            'config, model = load_model(Path("."))',
            "```",
            "Train it again, without Ray: `python -m trainables.train --config config.yaml`.",
            "",
            "## How it was made",
            f"{record.budget_used} training examples, {record.train_seconds:.0f} s of training. What the search chose:",
            "",
            *(f"- `{path}` = {value}" for path, value in record.assignment.items()),
            "",
            "`config.yaml` holds everything, `lineage.json` the code, packages, machine, data hashes and seeds, "
            "`metrics.json` the curve.",
            "",
        ]
    )
