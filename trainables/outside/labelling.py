"""A language model says which class a sentence is of (best_fit 4.6.2, "Llama was then used to label 5000 sentences")."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.encoder_files import reach_hub
from trainables.parts import ConfigError


def instruction(names: Sequence[str]) -> str:
    """The prompt's first line, in the words of best_fit 4.6.2."""
    quoted = [f"`{name}`" for name in names]
    listed = ", ".join(quoted[:-1]) + ("," if len(names) > 2 else "") + f" or {quoted[-1]}"
    return f"Label the following sentence as {listed}."


class Labeller:
    """A causal language model that labels sentences after an instruction and some examples.

    Departure: the model does not write freely.  Each label's words and the line's end after them are scored, and the label with
    the greatest log-probability is taken, so that each sentence has exactly one label.  How the examples stand in the prompt
    (`Sentence: ...`, `Label: ...`) is ours; the paper does not print it.

    Args:
        name: a folder, or a name on the Hugging Face hub; code of a model's own is never run, pickled weights are never read.
        names: of the labels, in the order of the classes.
        shots: examples, each a sentence and its class.

    Raises:
        ConfigError: the model cannot be found or read.
    """

    def __init__(self, name: str, names: Sequence[str], shots: Sequence[tuple[str, int]]) -> None:
        self._tokenizer, self._model = load_causal_model(name)
        examples = [f"{_question(text)} {names[label]}\n\n" for text, label in shots]
        head = self._tokenizer("".join([instruction(names), "\n\n", *examples]))["input_ids"]
        self._answers = [self._encode(f" {label}\n") for label in names]
        with torch.inference_mode():
            self._after_head = self._run(torch.tensor([head], device=self._model.device), None).past_key_values

    def label(self, sentence: str) -> int:
        """The class of a sentence."""
        return int(self.log_probabilities(sentence).argmax())

    @torch.inference_mode()
    def log_probabilities(self, sentence: str) -> np.ndarray:
        """Of each label's words after the prompt with this sentence: float64 `[num_labels]`, none above 0."""
        device = self._model.device
        question = torch.tensor([self._encode(_question(sentence))], device=device)
        asked = self._run(question, copy.deepcopy(self._after_head))
        longest = max(map(len, self._answers))
        # Padding stands behind the words, where a causal model does not look.
        padded = torch.tensor([[*answer, *[0] * (longest - len(answer))] for answer in self._answers], device=device)
        asked.past_key_values.batch_repeat_interleave(len(self._answers))
        first = asked.logits[:, -1:].expand(len(self._answers), -1, -1)
        logits = torch.cat([first, self._run(padded, asked.past_key_values).logits[:, :-1]], dim=1)
        scores: Tensor = logits.double().log_softmax(-1).gather(-1, padded[:, :, None])[:, :, 0]
        sums = [row[: len(answer)].sum().item() for row, answer in zip(scores, self._answers, strict=True)]
        return np.array(sums)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _run(self, token_ids: Tensor, cache: Any) -> Any:
        return self._model(token_ids, past_key_values=cache, use_cache=True)


def load_causal_model(name: str) -> tuple[Any, Any]:
    """Tokenizer and causal language model of a folder, of the hub's cache, or of the hub.

    Raises:
        ConfigError: there is none, it cannot be read, or the hub cannot be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _load(name, str(folder), local=True)
    try:
        return _load(name, name, local=True)
    except ConfigError:
        pass  # not in the cache: the hub is asked
    try:
        reach_hub()
    except Exception as error:
        why = f"the Hugging Face hub cannot be reached ({type(error).__name__})"
        raise ConfigError([f"--label-with {name}: there is no such folder, and {why}; give a folder with the model"]) from None
    return _load(name, name, local=False)


def _load(name: str, place: str, *, local: bool) -> tuple[Any, Any]:
    import transformers  # seconds

    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=local, trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            place, local_files_only=local, use_safetensors=True, trust_remote_code=False, dtype="auto"
        )
    except Exception as error:  # each format's reader has its own; one that asks for code of the model's own is a ValueError
        raise ConfigError([f"--label-with {name}: no causal language model can be read there ({_one_line(error)})"]) from None
    return tokenizer, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _question(sentence: str) -> str:
    return f"Sentence: {sentence}\nLabel:"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
