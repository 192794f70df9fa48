"""Low-rank adaptation: pretrained linear layers stand still, what is learnt on top of each is a product of two thin matrices.

Source: Hu et al. 2022 (https://arxiv.org/abs/2106.09685).  Why by hand: docs/decisions/0009.
"""

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config_parts import LoraConfig
from trainables.model.blank import Linear

LORA_FILE = "lora.safetensors"
"""Where a checkpoint keeps the adapters, beside the encoder whose weights have them merged in."""

TARGETS: Mapping[str, tuple[str, ...]] = {
    "attention": ("query", "value"),
    "all": ("query", "key", "value", "attention_output", "intermediate", "output"),
}
"""The linear layers of an encoder layer that get adapters, by the name of `encoder.lora.targets`."""

_ADAPTERS = ("lora_a", "lora_b")


class LoraLinear(Linear):
    """`W x + b + (alpha / rank) B A x`, where W and b are those of a layer that is there already (section 4.1, eq. 3).

    B starts at 0, so that the layer starts as the one it replaces, bit for bit.  A is Gaussian, as in the paper, which does not
    say how wide: here of variance `1 / (3 in_features)`, which is that of the uniform draw in the authors' code
    (https://github.com/microsoft/LoRA).

    Where gradients are recorded, `x A^T` comes first, so that the backward pass is thin, too; elsewhere the merged weights are
    used, which are those that are saved.  The two differ by rounding.  Departure: no dropout before A.

    Args:
        base: the layer that is adapted; its weight and bias are taken over.
        config: rank and alpha.
        generator: on the CPU, of A.

    Attributes:
        lora_a: `[rank, in_features]`.
        lora_b: `[out_features, rank]`.
    """

    def __init__(self, base: nn.Linear, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__(base.in_features, base.out_features)
        self.weight, self.bias = base.weight, base.bias
        self.scale = config.alpha / config.rank
        drawn = torch.empty(config.rank, base.in_features).normal_(std=(3 * base.in_features) ** -0.5, generator=generator)
        self.lora_a = nn.Parameter(drawn.to(base.weight.device))
        self.lora_b = nn.Parameter(base.weight.new_zeros(base.out_features, config.rank))

    def forward(self, inputs: Tensor) -> Tensor:
        """`[total_tokens, out_features]` from `[total_tokens, in_features]`."""
        if not torch.is_grad_enabled():
            return F.linear(inputs, self.merged_weight(), self.bias)
        plain = F.linear(inputs, self.weight, self.bias)
        return torch.addmm(plain, F.linear(inputs, self.lora_a), self.lora_b.T, alpha=self.scale)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """`W + (alpha / rank) B A`, `[out_features, in_features]`, in fp32; W itself, bit for bit, where B is 0."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return torch.addmm(self.weight, self.lora_b, self.lora_a, alpha=self.scale)


def add_adapters(layers: Iterable[nn.Module], config: LoraConfig, generator: torch.Generator) -> None:
    """Replaces the targets in each of an encoder's layers by `LoraLinear` around them, drawn in this order."""
    for layer in layers:
        for name in TARGETS[config.targets]:
            setattr(layer, name, LoraLinear(getattr(layer, name), config, generator))


def adapters(module: nn.Module) -> dict[str, nn.Parameter]:
    """A and B of all adapters in a module, by name (`layers.0.query.lora_a`); empty where there are none."""
    return {name: weight for name, weight in module.named_parameters() if name.rpartition(".")[2] in _ADAPTERS}


def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """The module's state as if it had no adapters, but did what it does with them."""
    merged = {f"{name}.weight": inner.merged_weight() for name, inner in module.named_modules() if isinstance(inner, LoraLinear)}
    learnt = adapters(module)
    return {name: merged.get(name, tensor) for name, tensor in module.state_dict().items() if name not in learnt}
