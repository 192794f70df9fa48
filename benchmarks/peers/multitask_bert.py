"""What both peers train: `transformers.BertModel` with a linear head a task over [CLS]."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, BertModel, logging

from trainables.config_parts import PACKAGED_ENCODER
from trainables.data.rows import Rows
from trainables.encoder_files import find_encoder

TASKS = ("sst", "qqp", "sts")
MAX_TOKENS = 128
_WIDTHS = {"sst": 5, "qqp": 1, "sts": 1}

logging.set_verbosity_error()
logging.disable_progress_bar()


def load_tokenizer(encoder: str = PACKAGED_ENCODER) -> Any:
    """An encoder's, as `transformers` has it."""
    return AutoTokenizer.from_pretrained(find_encoder(encoder).tokenizer_file.parent)


class MultitaskBert(nn.Module):
    """Losses of the three tasks, weighted alike, whichever of them a batch holds; in evaluation also the heads' outputs.

    Args:
        encoder: its name.
        dropout: before each head; inside the encoder it is as its files say.
    """

    def __init__(self, encoder: str = PACKAGED_ENCODER, dropout: float = 0.3) -> None:
        super().__init__()
        files = find_encoder(encoder)
        self.bert = BertModel.from_pretrained(files.weights.parent, add_pooling_layer=False)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(files.hidden_size, width) for name, width in _WIDTHS.items()})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, task: Tensor, labels: Tensor) -> dict:
        """`task`, int64 `[batch]`, says which head and loss a row has; outputs, `[batch, 5]`, are as wide as the widest head."""
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        sentences = self.dropout(states.last_hidden_state[:, 0])
        loss = torch.zeros(())
        outputs = torch.zeros(len(task), max(_WIDTHS.values()))
        for number, name in enumerate(TASKS):
            own = task == number
            if own.any():
                of_task = self.heads[name](sentences[own])
                loss = loss + _loss(name, of_task, labels[own])
                outputs[own, : _WIDTHS[name]] = of_task.detach()
        return {"loss": loss} if self.training else {"loss": loss, "outputs": outputs}


def _loss(name: str, outputs: Tensor, labels: Tensor) -> Tensor:
    if name == "sst":
        return F.cross_entropy(outputs, labels.long())
    scores = outputs.squeeze(1)
    return F.binary_cross_entropy_with_logits(scores, labels) if name == "qqp" else F.mse_loss(scores, labels)


def examples(rows: Mapping[str, Rows]) -> Iterator[tuple[int, tuple[str, ...], float]]:
    """Task number, sentences and label of every row of some tasks."""
    for task, own in rows.items():
        assert own.labels is not None
        for sentences, label in zip(zip(*own.sentences, strict=True), own.labels, strict=True):
            yield TASKS.index(task), sentences, float(label)


def tokenised(rows: Mapping[str, Rows], tokenizer: Any) -> list[dict[str, Any]]:
    """A dict a row, as `transformers.Trainer` takes it: tokens, `task` and `labels`; not padded."""
    return [
        {**tokenizer(*sentences, truncation=True, max_length=MAX_TOKENS), "task": task, "labels": label}
        for task, sentences, label in examples(rows)
    ]
