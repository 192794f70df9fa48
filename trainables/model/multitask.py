"""The model of a trial: one encoder, or one for single sentences and one for pairs, and a head for each task."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.config_parts import KnownPrecision, Precision
from trainables.data.batching import Batch
from trainables.data.frozen_states import FrozenStates
from trainables.encoder_files import EncoderFiles
from trainables.model.dropout import MaskSource
from trainables.model.encoder import Encoder
from trainables.model.heads import ConvolutionHead, Head, build_head, pair_features
from trainables.model.hidden import Hidden, hidden_of
from trainables.model.lora import LORA_FILE, adapters
from trainables.model.pooling import POOLINGS
from trainables.tasks import Task

ENCODER, ENCODER_PAIRS = "encoder", "encoder_pairs"
"""What the encoders are called among the weights, and their folders in a checkpoint."""


class MultitaskModel(nn.Module):
    """BERT under a head for each task.

    With `encoder.copies: singles_and_pairs` two of them, from the same pretrained weights: tasks of pairs share one, tasks of
    single sentences the other (best_fit, appendix A.4: "QQP and STS task heads share a single BERT model, and SST gets its own").

    Args:
        config: of the trial; `encoder` and `heads` are read.
        files: the encoder's pretrained weights.
        generator: on the CPU, of the initial weights of the heads, and then of the adapters (LoRA).
        files_of_pairs: what the encoder of pairs starts from, where there is one; None: `files`.

    Attributes:
        encoder: of all tasks, or of single sentences.
        encoder_pairs: of pairs; None where there is one encoder.

    Raises:
        ValueError: the weights do not fit the encoder's config.
    """

    def __init__(
        self,
        config: TrialConfig,
        files: EncoderFiles,
        generator: torch.Generator,
        *,
        files_of_pairs: EncoderFiles | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = self._encoder(files)
        two = config.encoder.copies == "singles_and_pairs"
        self.encoder_pairs = self._encoder(files_of_pairs or files) if two else None
        self.heads = nn.ModuleDict({name: self._head(task, generator) for name, task in config.tasks.by_name.items()})
        if config.encoder.lora.rank:
            for encoder in self.encoders.values():
                encoder.add_adapters(config.encoder.lora, generator)

    def _encoder(self, files: EncoderFiles) -> Encoder:
        precision = _known(self.config.precision)
        return Encoder.from_file(files.config, files.weights, dropout=self.config.encoder.dropout, precision=precision)

    def set_precision(self, config: TrialConfig) -> None:
        """Takes over a config that differs in its precision alone."""
        self.config = config
        for encoder in self.encoders.values():
            encoder.precision = _known(config.precision)

    @property
    def encoders(self) -> dict[str, Encoder]:
        """All encoders by name."""
        pairs = {} if self.encoder_pairs is None else {ENCODER_PAIRS: self.encoder_pairs}
        return {ENCODER: self.encoder, **pairs}

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
        """Says what moves from here on: the heads, and what of each encoder is not frozen (`Encoder.freeze`).

        Args:
            what: `heads`: none of an encoder.
            frozen_layers: embeddings and this many first layers stand still; 0: none.
        """
        for encoder in self.encoders.values():
            num_layers = len(encoder.layers) if what == "heads" else frozen_layers
            if num_layers != encoder.frozen_layers:
                encoder.freeze(num_layers)

    def forward(
        self,
        batches: Sequence[Batch],
        *,
        generator: MaskSource | None,
        embeddings: Tensor | None = None,
        sentences: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Predictions of one batch of each of some tasks, from one pass of each encoder over all of its own.

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
        hidden: dict[int, Hidden] = {}
        for encoder, numbers in self._by_encoder(batches):
            own = [batches[number] for number in numbers]
            given = None if embeddings is None else _of_batches(embeddings, batches, numbers)
            hidden |= zip(numbers, self._read(encoder, own, generator, given), strict=True)
        return {
            batch.task.name: self._predict(batch.task, hidden[number], generator, sentences)
            for number, batch in enumerate(batches)
        }

    def _by_encoder(self, batches: Sequence[Batch]) -> Iterator[tuple[Encoder, list[int]]]:
        """Each encoder that has something to read, and the numbers of its batches."""
        for name, encoder in self.encoders.items():
            numbers = [number for number, batch in enumerate(batches) if self._encoder_of(batch.task) == name]
            if numbers:
                yield encoder, numbers

    def _encoder_of(self, task: Task) -> str:
        return ENCODER_PAIRS if task.is_pair and self.encoder_pairs is not None else ENCODER

    def _read(
        self, encoder: Encoder, batches: Sequence[Batch], generator: MaskSource | None, embeddings: Tensor | None
    ) -> list[Hidden]:
        """The states of each batch, from one pass of their encoder, or of those of its layers whose outputs are not known."""
        known = [batch.frozen for batch in batches if batch.frozen is not None]
        assert len(known) in (0, len(batches)), "of one step's batches all are known as far as the others, or none"
        if known and known[0].num_layers == len(encoder.layers):
            return [self._hidden_of(batch, states) for batch, states in zip(batches, known, strict=True)]
        hidden: Hidden = encoder(
            *self._joined(batches),
            generator=generator,
            embeddings=embeddings,
            cls_positions=self._cls_positions(batches),
            first_tokens_only=all(self._reads_first_tokens(batch.task) for batch in batches),
            frozen=_joined_states(known, self.device),
        )
        return hidden.split([batch.lengths for batch in batches])

    def _hidden_of(self, batch: Batch, states: FrozenStates) -> Hidden:
        """The last layer's states as the encoder would give them; pooled ones stand for sequences of one token."""
        values = states.values.to(self.device)
        if states.pooled:
            return hidden_of(values, np.ones_like(batch.lengths))
        return hidden_of(values, batch.lengths, self._cls_positions([batch]))

    def frozen_pooling(self, task: Task) -> str | None:
        """By which pooling an encoder's outputs may be kept where all of it stands still; None: every token is needed."""
        config = self.config.heads[task.name]
        pooling = config.pooling or self.config.encoder.pooling
        return None if config.kind == "conv1d" or pooling == "attention" else pooling

    @torch.inference_mode()
    def frozen_states(self, batch: Batch, num_layers: int) -> Tensor:
        """What the first layers of its encoder give for a batch, without dropout.

        Returns:
            `[total_tokens, hidden]`; where that is all layers and `frozen_pooling` names a pooling `[num_sequences, hidden]`.
        """
        encoder = self.encoders[self._encoder_of(batch.task)]
        pooling = self.frozen_pooling(batch.task)
        if num_layers < len(encoder.layers):
            return encoder.first_layers(*self._joined([batch]), num_layers)
        [hidden] = self._read(encoder, [batch], None, None)
        return hidden.states if pooling is None else POOLINGS[pooling](encoder.hidden_size)(hidden)

    def _cls_positions(self, batches: Sequence[Batch]) -> np.ndarray | None:
        """Where each sequence's [CLS] is: of two, single sentences have the first, pairs the second (studentbert, appendix A)."""
        if self.config.encoder.cls_tokens == 1:
            return None
        return np.repeat([int(batch.task.is_pair) for batch in batches], [len(batch.lengths) for batch in batches])

    def _reads_first_tokens(self, task: Task) -> bool:
        return self.frozen_pooling(task) == "cls"

    def embed(self, batches: Sequence[Batch]) -> Tensor:
        """The embedding layers' output for all batches, in their order, `[total_tokens, hidden]`."""
        parts: dict[int, Tensor] = {}
        for encoder, numbers in self._by_encoder(batches):
            own = [batches[number] for number in numbers]
            embeddings = encoder.embed(*self._joined(own))
            if len(own) == len(batches):
                return embeddings
            parts |= zip(numbers, _by_batch(embeddings, own), strict=True)
        return torch.cat([parts[number] for number in range(len(batches))])

    def _joined(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor, np.ndarray]:
        token_ids = torch.cat([batch.token_ids for batch in batches]).to(self.device)
        segment_ids = torch.cat([batch.segment_ids for batch in batches]).to(self.device)
        return token_ids, segment_ids, np.concatenate([batch.lengths for batch in batches])

    def _predict(self, task: Task, hidden: Hidden, generator: MaskSource | None, sentences: dict[str, Tensor] | None) -> Tensor:
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
        head = self.config.heads[task.name]
        return (first, second) if head.of_two_sentences else (pair_features(first, second, head.concatenation),)

    def save_weights(self, folder: Path) -> None:
        """Writes a folder in Hugging Face's layout for each encoder (without a tokenizer), its adapters, `heads.safetensors`."""
        for name, encoder in self.encoders.items():
            encoder.save_pretrained(folder / name)
        if learnt := adapters(self):
            save_file({name: weight.detach().contiguous() for name, weight in learnt.items()}, folder / LORA_FILE)
        save_file({name: tensor.contiguous() for name, tensor in self.heads.state_dict().items()}, folder / "heads.safetensors")

    def load_weights(self, folder: Path) -> None:
        """Fills all weights from what `save_weights` wrote for a model of the same config and pretrained weights.

        Where there are adapters, the encoders' own weights never moved: they stay, for in the folder they are merged.
        """
        if learnt := adapters(self):
            _fill(learnt, folder / LORA_FILE)
        else:
            for name, encoder in self.encoders.items():
                encoder.load_weights(folder / name / "model.safetensors")
        self.load_heads(folder / "heads.safetensors")

    def load_heads(self, file: Path) -> None:
        """Fills the heads' weights alone."""
        self.heads.load_state_dict(load_file(file))


def _known(precision: Precision) -> KnownPrecision:
    assert precision != "auto", "it is resolved where the trial begins"
    return precision


def _joined_states(states: Sequence[FrozenStates], device: torch.device) -> FrozenStates | None:
    """Those of several batches, end to end; None where there are none."""
    if not states:
        return None
    return replace(states[0], values=torch.cat([part.values for part in states]).to(device))


def _of_batches(embeddings: Tensor, batches: Sequence[Batch], numbers: Sequence[int]) -> Tensor:
    """The embeddings of some of the batches, in their order."""
    if len(numbers) == len(batches):
        return embeddings
    parts = _by_batch(embeddings, batches)
    return torch.cat([parts[number] for number in numbers])


def _by_batch(embeddings: Tensor, batches: Sequence[Batch]) -> Sequence[Tensor]:
    parts: Sequence[Tensor] = embeddings.split([len(batch.token_ids) for batch in batches])  # type: ignore[no-untyped-call]
    return parts


@torch.no_grad()
def _fill(weights: Mapping[str, Tensor], file: Path) -> None:
    saved = load_file(file)
    for name, weight in weights.items():
        weight.copy_(saved[name])
