"""The model of a trial: one encoder, a head for each task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.data.batching import Batch
from trainables.encoder_files import EncoderFiles
from trainables.model.encoder import Encoder
from trainables.model.heads import HEADS, pair_features
from trainables.model.pooling import POOLINGS
from trainables.tasks import Task


class MultitaskModel(nn.Module):
    """BERT under a head for each task.

    Args:
        config: of the trial; `encoder` and `heads` are read.
        files: the encoder's pretrained weights.
        generator: on the CPU, of the heads' initial weights.

    Raises:
        ValueError: the weights do not fit the encoder's config.
    """

    def __init__(self, config: TrialConfig, files: EncoderFiles, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder.from_file(files.config, files.weights, dropout=config.encoder.dropout)
        self.heads = nn.ModuleDict({name: self._head(task, generator) for name, task in config.tasks.by_name.items()})
        self.encoder_stands_still = False

    def _head(self, task: Task, generator: torch.Generator) -> nn.Module:
        config = self.config.heads[task.name]
        width = self.encoder.hidden_size * (3 if self._reads_apart(task) else 1)
        return HEADS[config.kind](width, task, config, generator)

    def _reads_apart(self, task: Task) -> bool:
        return task.is_pair and self.config.encoder.pair_encoding == "bi"

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.encoder.word_embeddings.weight.device

    def set_trainable(self, what: Literal["everything", "heads"]) -> None:
        """Says what moves from here on.  While only heads train, the encoder's dropout is off too: its features are fixed."""
        self.encoder_stands_still = what == "heads"
        self.encoder.requires_grad_(not self.encoder_stands_still)
        if self.encoder.pooler is not None:
            self.encoder.pooler.requires_grad_(False)

    def forward(
        self, batches: Sequence[Batch], *, generator: torch.Generator | None, embeddings: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Predictions of one batch of each of some tasks, from one pass of the encoder over all of them.

        Args:
            batches: of different tasks.
            generator: of all dropout masks, on the model's device; None: no dropout.
            embeddings: `[total_tokens, hidden]` of all batches instead of what `embed` gives.

        Returns:
            For each task: logits `[num_examples, num_classes]` for classes, logits `[num_examples]` for yes or no, scores
            `[num_examples]` in the labels' units (not clipped to their range).
        """
        token_ids, segment_ids, lengths = self._joined(batches)
        encoder_generator = None if self.encoder_stands_still else generator
        pooling = self.config.encoder.pooling
        hidden = self.encoder(
            token_ids,
            segment_ids,
            lengths,
            generator=encoder_generator,
            embeddings=embeddings,
            first_tokens_only=pooling == "cls",
        )
        sentences = POOLINGS[pooling](hidden)
        by_task = torch.split(sentences, [len(batch.lengths) for batch in batches])
        return {
            batch.task.name: self._predict(batch.task, inner, generator) for batch, inner in zip(batches, by_task, strict=True)
        }

    def embed(self, batches: Sequence[Batch]) -> Tensor:
        """The embedding layer's output for all batches, `[total_tokens, hidden]`."""
        return self.encoder.embed(*self._joined(batches))

    def _joined(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor, np.ndarray]:
        token_ids = torch.cat([batch.token_ids for batch in batches]).to(self.device)
        segment_ids = torch.cat([batch.segment_ids for batch in batches]).to(self.device)
        return token_ids, segment_ids, np.concatenate([batch.lengths for batch in batches])

    def _predict(self, task: Task, sentences: Tensor, generator: torch.Generator | None) -> Tensor:
        features = pair_features(*sentences.chunk(2)) if self._reads_apart(task) else sentences
        out: Tensor = self.heads[task.name](features, generator)
        return out if task.target == "classes" else out.squeeze(1)

    def save_weights(self, folder: Path) -> None:
        """Writes `encoder/` in Hugging Face's layout (without a tokenizer) and `heads.safetensors`."""
        self.encoder.save_pretrained(folder / "encoder")
        save_file({name: tensor.contiguous() for name, tensor in self.heads.state_dict().items()}, folder / "heads.safetensors")

    def load_weights(self, folder: Path) -> None:
        """Fills all weights from what `save_weights` wrote for a model of the same config."""
        self.encoder.load_weights(folder / "encoder" / "model.safetensors")
        self.load_heads(folder / "heads.safetensors")

    def load_heads(self, file: Path) -> None:
        """Fills the heads' weights alone."""
        self.heads.load_state_dict(load_file(file))
