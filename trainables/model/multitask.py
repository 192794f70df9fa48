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
from trainables.model.heads import ConvolutionHead, Head, build_head, pair_features
from trainables.model.hidden import Hidden
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

    def _head(self, task: Task, generator: torch.Generator) -> Head:
        config, pooling = self.config.heads[task.name], self.config.encoder.pooling
        return build_head(self.encoder.hidden_size, task, config, pooling, generator, reads_apart=self._reads_apart(task))

    def _reads_apart(self, task: Task) -> bool:
        return task.is_pair and self.config.encoder.pair_encoding == "bi"

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.encoder.word_embeddings.weight.device

    def set_trainable(self, what: Literal["everything", "heads"], frozen_layers: int = 0) -> None:
        """Says what moves from here on: the heads, and what of the encoder is not frozen (`Encoder.freeze`).

        Args:
            what: `heads`: none of the encoder.
            frozen_layers: embeddings and this many first layers stand still; 0: none.
        """
        num_layers = len(self.encoder.layers) if what == "heads" else frozen_layers
        if num_layers != self.encoder.frozen_layers:
            self.encoder.freeze(num_layers)

    def forward(
        self,
        batches: Sequence[Batch],
        *,
        generator: torch.Generator | None,
        embeddings: Tensor | None = None,
        sentences: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Predictions of one batch of each of some tasks, from one pass of the encoder over all of them.

        Args:
            batches: of different tasks.
            generator: of all dropout masks, on the model's device; None: no dropout.
            embeddings: `[total_tokens, hidden]` of all batches instead of what `embed` gives.
            sentences: is filled with each task's pooled sentence vectors, `[num_sequences, hidden]`, but for a head that reads
                tokens (conv1d); None: nobody asks for them.

        Returns:
            For each task: logits `[num_examples, num_classes]` for classes, logits `[num_examples]` for yes or no, scores
            `[num_examples]` in the labels' units (held to their range only where `heads.*.output` says so).
        """
        token_ids, segment_ids, lengths = self._joined(batches)
        hidden = self.encoder(
            token_ids,
            segment_ids,
            lengths,
            generator=generator,
            embeddings=embeddings,
            first_tokens_only=all(self._reads_first_tokens(batch.task) for batch in batches),
        )
        by_task = hidden.split([batch.lengths for batch in batches])
        return {
            batch.task.name: self._predict(batch.task, inner, generator, sentences)
            for batch, inner in zip(batches, by_task, strict=True)
        }

    def _reads_first_tokens(self, task: Task) -> bool:
        config = self.config.heads[task.name]
        return config.kind != "conv1d" and (config.pooling or self.config.encoder.pooling) == "cls"

    def embed(self, batches: Sequence[Batch]) -> Tensor:
        """The embedding layer's output for all batches, `[total_tokens, hidden]`."""
        return self.encoder.embed(*self._joined(batches))

    def _joined(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor, np.ndarray]:
        token_ids = torch.cat([batch.token_ids for batch in batches]).to(self.device)
        segment_ids = torch.cat([batch.segment_ids for batch in batches]).to(self.device)
        return token_ids, segment_ids, np.concatenate([batch.lengths for batch in batches])

    def _predict(
        self, task: Task, hidden: Hidden, generator: torch.Generator | None, sentences: dict[str, Tensor] | None
    ) -> Tensor:
        head = self.heads[task.name]
        assert isinstance(head, Head)
        if isinstance(head, ConvolutionHead):
            out: Tensor = head(hidden, generator)
        else:
            pooled = head.pooling(hidden)
            if sentences is not None:
                sentences[task.name] = pooled
            out = head(*self._inputs(task, pooled), generator)
        return out if task.target == "classes" else out.squeeze(1)

    def _inputs(self, task: Task, pooled: Tensor) -> tuple[Tensor, ...]:
        """What a task's head reads: sentences, features of pairs, or first and second sentences."""
        if not self._reads_apart(task):
            return (pooled,)
        first, second = pooled.chunk(2)
        return (first, second) if self.config.heads[task.name].of_two_sentences else (pair_features(first, second),)

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
