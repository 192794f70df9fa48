from typing import Any

import pytest
import yaml

from trainables.config import TrialConfig
from trainables.tasks import CS224N
from tuner.claim import Estimate
from tuner.confirmation import Confirmed
from tuner.model_card import LUCKY, NOTHING_FOUND, Findings, ensemble_card, model_card
from tuner.records import Confirms, TrialRecord

REPORTS = (
    {"budget": 100, "score": 0.71234, "sst_accuracy": 0.4, "qqp_accuracy": 0.75, "sts_pearson": 0.9, "train_seconds": 30.0},
    {"budget": 200, "score": 0.5, "sst_accuracy": 0.1, "qqp_accuracy": 0.2, "sts_pearson": 0.3, "train_seconds": 12.0},
)


CHOSEN = {"optimizer.lr": 3e-5, "heads.*.kind": "mlp"}
KEPT = {"score": 0.65, "sst_accuracy": 0.45, "qqp_accuracy": 0.8, "sts_pearson": 0.85}
ESTIMATE = Estimate(3, (0.65, 0.66, 0.67), 0.66, 0.01, 0.64, 0.68, 0.9, 0.05, 0.01, 0.09)


def card(
    encoder: str = "tiny",
    reports: Any = REPORTS,
    findings: Findings = NOTHING_FOUND,
    *,
    share: float = 0.0,
    confirms: Confirms | None = None,
    assignment: Any = CHOSEN,
) -> str:
    changes = {"encoder.name": encoder, "data.source": "/data/mine", "data.confirm_share": share}
    config = TrialConfig().override(changes).to_tree()
    if confirms is not None:
        reports = tuple(report | {"confirm": KEPT} for report in reports)
    record = TrialRecord(7, "complete", assignment, config, reports, confirms=confirms)
    return model_card({"name": "night1", "data_hashes": {"sts-dev.csv": "ab"}}, record, findings=findings)


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


def test_a_score_that_was_not_confirmed_is_not_passed_off_as_one_that_was() -> None:
    text = card()
    assert "| 95 % interval of the score | not confirmed |" in text and "**Not confirmed** on rows" in text
    assert "| this training, on: | dev |" in text and "part" not in text.partition("## Use")[0]
    text = card(findings=Findings(claim="not confirmed: 4 trainings are still to come"), share=0.25)
    assert "lucky side. **Not confirmed**: 4 trainings are still to come." in text
    assert "| this training, on: | search part, 75 % of dev |" in text


def test_a_training_that_confirms_has_its_own_scores_beside_the_mean_of_all() -> None:
    found = Findings(confirmed=Confirmed(3, 0.72, (15, 16, 17), ESTIMATE), claim="trial 3 is better")
    head, _, rest = card(findings=found, share=0.25, confirms=Confirms(3, 1)).partition("## Use")
    for part in (
        "Trial 7 (complete) of the search `night1`, which trains trial 3's config again (seed 0, number 2 of the new ones), ",
        "| this training, on: | search part, 75 % of dev | kept part, 25 % of dev |",
        "| score (leaderboard formula) | 0.7123 | 0.6500 |",
        "| Quora paraphrase, accuracy | 0.7500 | 0.8000 |",
        "| trial 3's config, trained again as trials 15, 16, 17 | kept part, 25 % of dev |",
        "| mean score of 3 trainings | 0.6600 |",
        "| 95 % interval of that mean | 0.6400 to 0.6800 |",
        "| shrinkage from the score that it was chosen by (0.7200 of trial 3, search part, 75 % of dev) | 0.0600 |",
        "**Trial 3 is better.**",
    ):
        assert part in head, part
    assert not any(word in (head + rest).lower() for word in ("not confirmed", "lucky", "flatters", "on dev |"))
    assert "- `optimizer.lr` = 3e-05" in rest


def test_where_the_reference_won_the_search_chose_nothing() -> None:
    found = Findings(confirmed=Confirmed(None, None, (15, 16, 17), ESTIMATE), claim="the search found nothing better")
    text = card(findings=found, share=0.25, confirms=Confirms(None, 0), assignment={})
    assert "which trains the reference config again" in text and "shrinkage" not in text
    assert "What the search chose:\n\n- nothing: the reference config itself, which every trial starts from\n" in text


def test_a_training_whose_config_is_not_confirmed_is_not_on_the_lucky_side_either() -> None:
    text = card(findings=Findings(claim="not confirmed: x"), share=0.25, confirms=Confirms(3, 1))
    assert "| 95 % interval of the score | not confirmed |" in text and "**Not confirmed**: x." in text
    assert "lucky" not in text and "flatters" not in text


def test_it_has_use_limits_data_and_lineage() -> None:
    rows = {name: {"train": 3, "dev": 2} for name in CS224N.names}
    text = card(findings=Findings(rows=rows, num_left_out=4))
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## Use", "## Limits", "## How it was made", "## Data", "## Lineage"]
    assert 'python -m trainables.predict . --task sts "sentence1" "sentence2"' in text
    assert "4 rows with an empty cell" in text and "- `sts-dev.csv` ab" in text


def test_its_head_is_yaml() -> None:
    _, head, body = card().split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "transformers"
    assert body.startswith("# ")


@pytest.mark.parametrize(("encoder", "is_noted"), [("packaged", True), ("tiny", False), ("google-bert/bert-base-uncased", False)])
def test_what_the_packaged_encoder_was_trained_on_is_said(encoder: str, is_noted: bool) -> None:
    assert ("Quora duplicates" in card(encoder)) == is_noted


def test_a_model_without_its_full_budget_is_not_passed_off_as_one_with_it() -> None:
    config = TrialConfig().override({"budget_examples": 600}).to_tree()
    early = {**REPORTS[0], "examples": 67, "dev_share": 0.25}
    text = model_card({"name": "night1"}, TrialRecord(0, "running", {}, config, (early,)))
    assert "**Not fully trained**: the model after 67 of 600 examples, and scored on 25% of dev." in text
    assert "Trial 0 (cut off, may go on)" in text and "67 training examples" in text
    assert "No trial of the search had its full budget" in text
    asked_for = model_card({"name": "night1"}, TrialRecord(0, "stopped", {}, config, (early,)), chosen=False)
    assert "after 67 of 600 examples" in asked_for and "No trial of the search" not in asked_for
    config["data"]["confirm_share"] = 0.4
    text = model_card({"name": "night1"}, TrialRecord(0, "running", {}, config, (early,)))
    assert "and scored on 25% of the search part of dev." in text
    assert "Not fully trained" not in card()


def test_a_trial_without_a_report_has_a_card_too() -> None:
    assert "| score (leaderboard formula) | nan |" in card(reports=())


@pytest.mark.parametrize("encoder", ["packaged", "tiny"])
def test_the_card_of_an_ensemble(encoder: str) -> None:
    text = ensemble_card(
        CS224N,
        how="average",
        data="/data/mine",
        command="python -m tuner.export --ensemble /a /b",
        rows=[("/a", REPORTS[0]), ("/b", REPORTS[1]), ("average", REPORTS[0])],
        sources={"sst": ["/a"], "qqp": ["/b"], "sts": ["/a", "/b"]},
        encoders=["tiny", encoder],
    )
    for part in (
        "# An ensemble, average: SST-5 sentiment, Quora paraphrase, STS-B similarity",
        "on data `/data/mine`",
        "| /b | 0.5000 | 0.1000 | 0.2000 | 0.3000 |",
        "| **average** | 0.7123 | 0.4000 | 0.7500 | 0.9000 |",
        LUCKY,
        "- STS-B similarity: `/a`, `/b`",
        "```bash\npython -m tuner.export --ensemble /a /b\n```",
    ):
        assert part in text, part
    assert ("Quora duplicates" in text) == (encoder == "packaged")
