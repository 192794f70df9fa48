from typing import Any

import pytest
import yaml

from trainables.config import TrialConfig
from tuner.model_card import model_card
from tuner.records import TrialRecord

REPORTS = (
    {"budget": 100, "score": 0.71234, "sst_accuracy": 0.4, "qqp_accuracy": 0.75, "sts_pearson": 0.9, "train_seconds": 30.0},
    {"budget": 200, "score": 0.5, "sst_accuracy": 0.1, "qqp_accuracy": 0.2, "sts_pearson": 0.3, "train_seconds": 12.0},
)


def card(encoder: str = "tiny", reports: Any = REPORTS) -> str:
    config = TrialConfig().override({"encoder.name": encoder, "data.source": "/data/mine"}).to_tree()
    record = TrialRecord(7, "complete", {"optimizer.lr": 3e-5, "heads.*.kind": "mlp"}, config, reports)
    return model_card({"name": "night1"}, record)


def test_it_says_what_the_model_is_and_what_it_scores() -> None:
    text = card()
    for part in (
        "Trial 7 (complete) of the search `night1`, encoder `tiny`, data `/data/mine`.",
        "| score (leaderboard formula) | 0.7123 |",
        "| SST-5 sentiment, accuracy | 0.4000 |",
        "| Quora paraphrase, accuracy | 0.7500 |",
        "| STS-B similarity, pearson | 0.9000 |",
        "200 training examples, 42 s of training",
        "- `optimizer.lr` = 3e-05",
        "- `heads.*.kind` = mlp",
    ):
        assert part in text, part


def test_its_head_is_yaml() -> None:
    _, head, body = card().split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "transformers"
    assert body.startswith("# ")


@pytest.mark.parametrize(("encoder", "is_noted"), [("packaged", True), ("tiny", False), ("google-bert/bert-base-uncased", False)])
def test_what_the_packaged_encoder_was_trained_on_is_said(encoder: str, is_noted: bool) -> None:
    assert ("Quora duplicates" in card(encoder)) == is_noted


def test_a_trial_without_a_report_has_a_card_too() -> None:
    assert "| score (leaderboard formula) | nan |" in card(reports=())
