from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.outside import labelling
from trainables.outside.labelling import Labeller, instruction, load_causal_model
from trainables.parts import ConfigError

NAMES = ("bad", "very good", "fair")
SHOTS = [("a dull film", 0), ("a warm film", 1)]


def test_the_instruction_is_the_papers():
    assert instruction(["negative_sentiment", "neutral_sentiment", "positive_sentiment"]) == (
        "Label the following sentence as `negative_sentiment`, `neutral_sentiment`, or `positive_sentiment`."
    )
    assert instruction(["bad", "good"]) == "Label the following sentence as `bad` or `good`."


def test_scores_are_those_of_the_whole_prompt_read_at_once(tiny_model: Path):
    labeller = Labeller(str(tiny_model), NAMES, SHOTS)
    tokenizer, model = load_causal_model(str(tiny_model))
    for sentence in ("it sings", "so it goes, and goes"):
        prompt = (
            f"{instruction(NAMES)}\n\nSentence: a dull film\nLabel: bad\n\nSentence: a warm film\nLabel: very good\n\n"
            f"Sentence: {sentence}\nLabel:"
        )
        expected = []
        for name in NAMES:
            ids = torch.tensor(tokenizer(f"{prompt} {name}\n")["input_ids"])
            with torch.no_grad():
                scores = model(ids[None]).logits[0].double().log_softmax(-1)
            start = len(tokenizer(prompt)["input_ids"])
            expected.append(sum(scores[place - 1, ids[place]].item() for place in range(start, len(ids))))
        found = labeller.log_probabilities(sentence)
        assert found == pytest.approx(expected, abs=1e-3)
        assert labeller.label(sentence) == int(np.argmax(expected))


def test_a_sentence_is_labelled_alike_whatever_came_before(tiny_model: Path):
    labeller = Labeller(str(tiny_model), NAMES, [])
    first = labeller.log_probabilities("it sings")
    labeller.label("something else")
    assert labeller.log_probabilities("it sings").tolist() == first.tolist()


def test_a_hub_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch):
    def nobody() -> None:
        raise ConnectionError

    monkeypatch.setattr(labelling, "reach_hub", nobody)
    with pytest.raises(ConfigError, match="no such folder, and the Hugging Face hub cannot be reached"):
        load_causal_model("nobody/no-such-model")


def test_a_folder_without_a_model_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="no causal language model can be read there"):
        load_causal_model(str(tmp_path))
