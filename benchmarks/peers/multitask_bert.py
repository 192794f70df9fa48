"""What both peers train: `transformers.BertModel` with a linear head a task over [CLS]."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, BertModel, logging

from benchmarks.workload import Workload
from trainables.encoder_files import find_encoder

TASKS = ("sst", "qqp", "sts")

logging.set_verbosity_error()
logging.disable_progress_bar()


def load_tokenizer():
    """The packaged encoder's, as `transformers` has it."""
    return AutoTokenizer.from_pretrained(find_encoder("packaged").tokenizer_file.parent)


class MultitaskBert(nn.Module):
    """Losses of the three tasks, weighted alike, whichever of them a batch holds."""

    def __init__(self) -> None:
        super().__init__()
        files = find_encoder("packaged")
        self.bert = BertModel.from_pretrained(files.weights.parent, add_pooling_layer=False)
        self.dropout = nn.Dropout(0.3)
        self.heads = nn.ModuleDict({"sst": nn.Linear(384, 5), "qqp": nn.Linear(384, 1), "sts": nn.Linear(384, 1)})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, task: Tensor, labels: Tensor) -> dict:
        """`task`, int64 `[batch]`, says which head and loss a row has."""
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        sentences = self.dropout(states.last_hidden_state[:, 0])
        loss = torch.zeros(())
        for number, name in enumerate(TASKS):
            own = task == number
            if own.any():
                loss = loss + _loss(name, self.heads[name](sentences[own]), labels[own])
        return {"loss": loss}


def _loss(name: str, outputs: Tensor, labels: Tensor) -> Tensor:
    if name == "sst":
        return F.cross_entropy(outputs, labels.long())
    scores = outputs.squeeze(1)
    return F.binary_cross_entropy_with_logits(scores, labels) if name == "qqp" else F.mse_loss(scores, labels)


def examples(workload: Workload) -> Iterator[tuple[int, tuple[str, ...], float]]:
    """Task number, sentences and label of every training row."""
    for task, rows in workload.rows().items():
        for sentences, label in zip(zip(*rows.sentences, strict=True), rows.labels, strict=True):
            yield TASKS.index(task), sentences, float(label)
