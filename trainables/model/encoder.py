"""BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) over unpadded batches, with Hugging Face's weights.

The same numbers as `transformers.BertModel` on padded batches, without the work on padding and without importing transformers.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainables.config_parts import KnownPrecision, LoraConfig
from trainables.data.frozen_states import FrozenStates
from trainables.encoder_weights import ACTIVATIONS, plain_name
from trainables.model.blank import Embedding, LayerNorm, Linear
from trainables.model.dropout import MaskSource, draw_mask, dropout
from trainables.model.hidden import Hidden, hidden_of
from trainables.model.lora import adapters, add_adapters, merged_state
from trainables.model.unpadded import AttentionPlan, Group, attend, attend_from_one, plan_attention
from trainables.precision import multiplying

_EMBEDDING_NAMES = {
    "word_embeddings": "embeddings.word_embeddings",
    "position_embeddings": "embeddings.position_embeddings",
    "segment_embeddings": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
    "pooler": "pooler.dense",
}
_LAYER_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}


def hugging_face_name(name: str) -> str:
    """Hugging Face's name of one of `Encoder`'s weights: `layers.0.query.bias` -> `encoder.layer.0.attention.self.query.bias`."""
    parts = name.split(".")
    if parts[0] == "layers":
        return ".".join(["encoder.layer", parts[1], _LAYER_NAMES[parts[2]], *parts[3:]])
    return ".".join([_EMBEDDING_NAMES[parts[0]], *parts[1:]])


class Encoder(nn.Module):
    """BERT's embeddings and layers.

    Args:
        config: the checkpoint's parsed `config.json`.
        weights: its tensors in Hugging Face's names; names of other parts of a checkpoint (`cls.*`) are passed over.
        dropout: after embeddings, on attention probabilities and after each dense layer that is added to the residual.
        precision: of its products; what it gives is fp32.

    Attributes:
        frozen_layers: what stands still (see `freeze`).

    Raises:
        ValueError: weights are missing or of another shape than the config says.
    """

    def __init__(
        self, config: Mapping[str, Any], weights: Mapping[str, Tensor], *, dropout: float, precision: KnownPrecision = "fp32"
    ) -> None:
        super().__init__()
        self.config = dict(config)
        self.dropout = dropout
        self.precision: KnownPrecision = precision
        self.frozen_layers = 0
        self.hidden_size: int = config["hidden_size"]
        self.num_heads: int = config["num_attention_heads"]
        self.max_positions: int = config["max_position_embeddings"]
        self._build(has_pooler="pooler.dense.weight" in _plain_names(weights))
        self._load(_plain_names(weights))

    @classmethod
    def from_file(
        cls, config: Mapping[str, Any], weights: Path, *, dropout: float, precision: KnownPrecision = "fp32"
    ) -> "Encoder":
        """The encoder in a `model.safetensors`."""
        return cls(config, load_file(weights), dropout=dropout, precision=precision)

    def _build(self, *, has_pooler: bool) -> None:
        config, width = self.config, self.hidden_size
        eps = config.get("layer_norm_eps", 1e-12)
        # A dense gradient of this table is mostly zeros, and to clear it costs a tenth of a step (see `optimizers.RowGradients`).
        self.word_embeddings = Embedding(config["vocab_size"], width, sparse=True)
        self.position_embeddings = Embedding(self.max_positions, width)
        self.segment_embeddings = Embedding(config.get("type_vocab_size", 2), width)
        self.embedding_norm = LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList(_Layer(self.config, self.dropout) for _ in range(config["num_hidden_layers"]))
        # Not used here; kept, untrained, so that what is saved is the whole checkpoint again.
        self.pooler = Linear(width, width).requires_grad_(False) if has_pooler else None

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        names = {name: hugging_face_name(name) for name in self.state_dict()}
        missing = [theirs for theirs in names.values() if theirs not in weights]
        if missing:
            raise ValueError(f"the encoder's weights lack {len(missing)} tensors, the first is {missing[0]}")
        for name, tensor in self.state_dict().items():
            if weights[names[name]].shape != tensor.shape:
                shape = list(weights[names[name]].shape)
                raise ValueError(f"{names[name]} must have the shape {list(tensor.shape)} of the config, but got {shape}")
        # Cloned: tensors that still lie in the mapped file are unaligned, and sums then differ in their last digits.
        self.load_state_dict({name: weights[theirs].float().clone() for name, theirs in names.items()}, assign=True)
        self.freeze(0)

    def freeze(self, num_layers: int) -> None:
        """Embeddings and the first `num_layers` layers stand still from here on; 0: everything moves, or all that has adapters.

        They run without gradient and without dropout: their outputs are fixed features.  Embeddings that are given from outside
        get their gradient through them all the same.

        Source: three_headed, section 3.4 ("we froze the first few layers"), after Lee et al. 2023
        (https://arxiv.org/abs/2210.11466).  The paper does not say whether the embeddings and dropout stood still, too.
        """
        assert 0 <= num_layers <= len(self.layers)
        self.frozen_layers = num_layers
        moving = self.layers[num_layers:] if num_layers else self
        self.requires_grad_(False)
        for weight in (adapters(moving) or dict(moving.named_parameters())).values():
            weight.requires_grad_(True)
        if self.pooler is not None:
            self.pooler.requires_grad_(False)

    def add_adapters(self, config: LoraConfig, generator: torch.Generator) -> None:
        """Low-rank updates of its linear layers (see `LoraLinear`) move from here on; all that there was stands still.

        Args:
            config: rank > 0, scale, and which layers.
            generator: on the CPU, of the initial adapters.
        """
        add_adapters(self.layers, config, generator)
        self.freeze(self.frozen_layers)

    def forward(
        self,
        token_ids: Tensor,
        segment_ids: Tensor,
        lengths: np.ndarray,
        *,
        generator: MaskSource | None,
        embeddings: Tensor | None = None,
        cls_positions: np.ndarray | None = None,
        first_tokens_only: bool = False,
        frozen: FrozenStates | None = None,
    ) -> Hidden:
        """Hidden states of sequences that lie end to end.

        Args:
            token_ids: int64 `[total_tokens]`.
            segment_ids: int64 `[total_tokens]`, 0 or 1.
            lengths: int64 `[num_sequences]` on the CPU.
            generator: of the dropout masks; None: no dropout.  Layers that are frozen have none.
            embeddings: `[total_tokens, hidden]` instead of what `embed` gives (SMART perturbs it).
            cls_positions: int64 `[num_sequences]` on the CPU, which token of each sequence is its [CLS]; None: the first of all.
            first_tokens_only: give the states of the [CLS] tokens alone; the same numbers, without most of the last layer's work.
            frozen: what the first layers give for these tokens, not pooled, not of all layers; None: all are computed.
        """
        if frozen is not None:
            states = frozen.values
        else:
            given = self.embed(token_ids, segment_ids, lengths) if embeddings is None else embeddings
            states = dropout(given, self.dropout, None if self.frozen_layers else generator)
        plan = plan_attention(lengths, self.num_heads, states.device)
        cls_rows = np.cumsum(lengths) - lengths + (0 if cls_positions is None else cls_positions)
        first_tokens = torch.from_numpy(cls_rows).to(states.device) if first_tokens_only else None
        with multiplying(self.precision, states.device):
            for number in range(0 if frozen is None else frozen.num_layers, len(self.layers)):
                rows = first_tokens if number + 1 == len(self.layers) else None
                states = self.layers[number](states, plan, None if number < self.frozen_layers else generator, rows)
        return hidden_of(states, np.ones_like(lengths)) if first_tokens_only else hidden_of(states, lengths, cls_positions)

    def first_layers(self, token_ids: Tensor, segment_ids: Tensor, lengths: np.ndarray, num_layers: int) -> Tensor:
        """What embeddings and the first `num_layers` layers give without dropout, `[total_tokens, hidden]`."""
        states = self.embed(token_ids, segment_ids, lengths)
        plan = plan_attention(lengths, self.num_heads, states.device)
        with multiplying(self.precision, states.device):
            for layer in self.layers[:num_layers]:
                states = layer(states, plan, None, None)
        return states

    def embed(self, token_ids: Tensor, segment_ids: Tensor, lengths: np.ndarray) -> Tensor:
        """The embedding layer's output, after its layer norm and before its dropout: `[total_tokens, hidden]`."""
        starts = np.cumsum(lengths) - lengths
        positions = torch.from_numpy(np.arange(int(lengths.sum())) - np.repeat(starts, lengths)).to(token_ids.device)
        summed = self.word_embeddings(token_ids) + self.position_embeddings(positions) + self.segment_embeddings(segment_ids)
        normed: Tensor = self.embedding_norm(summed)
        return normed

    def save_pretrained(self, folder: Path) -> None:
        """Writes `config.json` and `model.safetensors` for `transformers.AutoModel.from_pretrained`, with adapters merged in."""
        folder.mkdir(parents=True, exist_ok=True)
        config = json.dumps({**self.config, "architectures": ["BertModel"]}, indent=2, sort_keys=True) + "\n"
        (folder / "config.json").write_text(config, encoding="utf-8")
        tensors = {hugging_face_name(name): tensor.contiguous() for name, tensor in merged_state(self).items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    @torch.no_grad()
    def load_weights(self, file: Path) -> None:
        """Fills the weights of an encoder without adapters from a `model.safetensors` that `save_pretrained` wrote."""
        assert not adapters(self), "what is merged cannot be taken apart"
        saved = load_file(file)
        for name, tensor in self.state_dict().items():
            tensor.copy_(saved[hugging_face_name(name)])


class _Layer(nn.Module):
    """One post-norm transformer layer."""

    def __init__(self, config: Mapping[str, Any], dropout: float) -> None:
        super().__init__()
        width, inner, eps = config["hidden_size"], config["intermediate_size"], config.get("layer_norm_eps", 1e-12)
        self.num_heads: int = config["num_attention_heads"]
        self.dropout = dropout
        function, options = ACTIVATIONS[config.get("hidden_act", "gelu")]
        self.activation = partial(getattr(F, function), **options)
        self.query, self.key, self.value = Linear(width, width), Linear(width, width), Linear(width, width)
        self.attention_output = Linear(width, width)
        self.attention_norm = LayerNorm(width, eps=eps)
        self.intermediate, self.output = Linear(width, inner), Linear(inner, width)
        self.output_norm = LayerNorm(width, eps=eps)

    def forward(self, states: Tensor, plan: AttentionPlan, generator: MaskSource | None, rows: Tensor | None) -> Tensor:
        """The layer's output `[total_tokens, hidden]`, or `[num_sequences, hidden]` of the token of each that `rows` names."""
        masks = [self._probability_mask(group, generator, 1 if rows is not None else group.length) for group in plan.groups]
        key, value = self.key(states), self.value(states)
        if rows is None:
            context = attend(self.query(states), key, value, plan, masks)
        else:
            states = states[rows]
            context = attend_from_one(self.query(states), key, value, plan, masks)
        states = self.attention_norm(dropout(self.attention_output(context), self.dropout, generator) + states)
        inner = self.activation(self.intermediate(states))
        normed: Tensor = self.output_norm(dropout(self.output(inner), self.dropout, generator) + states)
        return normed

    def _probability_mask(self, group: Group, generator: MaskSource | None, num_queries: int) -> Tensor | None:
        if generator is None or self.dropout == 0:
            return None
        shape = torch.Size((group.num_sequences * self.num_heads, num_queries, group.length))
        return draw_mask(shape, self.dropout, generator)


def _plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {plain_name(name): tensor for name, tensor in weights.items()}
