import math

import pytest
import torch

from trainables.balancing.loss_weights import LOSS_WEIGHTS_LR, LossWeights
from trainables.config_parts import BalancingConfig, OptimizerConfig
from trainables.lion import Lion
from trainables.optimizers import build_optimizer, clip_gradients, load_optimizer_tensors, optimizer_tensors, set_lr
from trainables.tasks import CS224N

STATE = {"adamw": {"step", "exp_avg", "exp_avg_sq"}, "lion": {"exp_avg"}}
NAMES = tuple(STATE)


class Model(torch.nn.Module):
    def __init__(self, *, sparse: bool = True) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.encoder = torch.nn.ModuleDict({"words": torch.nn.Embedding(9, 4, sparse=sparse), "norm": torch.nn.LayerNorm(4)})
        self.heads = torch.nn.ModuleDict({"sst": torch.nn.Linear(4, 2), "qqp": torch.nn.Linear(4, 1)})
        for weight in self.parameters():
            torch.nn.init.normal_(weight, generator=generator)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.heads["sst"](self.encoder["norm"](self.encoder["words"](ids)))


def train(model: Model, optimizer: torch.optim.Optimizer, steps: int, max_norm: float | None = 0.5) -> list[float]:
    norms = []
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        model(torch.tensor([step % 9, 3, 3])).square().sum().backward()
        norms.append(clip_gradients(model.parameters(), max_norm).item())
        optimizer.step()
    return norms


def test_groups_part_heads_from_encoder_and_spare_biases_and_norms() -> None:
    model = Model()
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-3, head_lr_scale=10.0, weight_decay=0.1))
    set_lr(optimizer, 2e-3, 0.1)
    settings = {
        id(weight): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for weight in group["params"]
    }
    assert {name: settings[id(weight)] for name, weight in model.named_parameters()} == {
        "encoder.words.weight": (2e-3, 0.1),
        "encoder.norm.weight": (2e-3, 0.0),
        "encoder.norm.bias": (2e-3, 0.0),
        "heads.sst.weight": (2e-2, 0.1),
        "heads.sst.bias": (2e-2, 0.0),
        "heads.qqp.weight": (2e-2, 0.1),
        "heads.qqp.bias": (2e-2, 0.0),
    }


def test_a_second_encoder_trains_at_the_encoders_rate_and_adapters_decay() -> None:
    model = torch.nn.Module()
    model.encoder_pairs = torch.nn.ParameterDict({"lora_a": torch.zeros(2, 4), "bias": torch.zeros(4)})
    model.encoders_of_others = torch.nn.ParameterDict({"weight": torch.zeros(2, 4)})
    optimizer = build_optimizer(model, OptimizerConfig(head_lr_scale=10.0, weight_decay=0.1))
    settings = {id(w): (group["lr_scale"], group["weight_decay"]) for group in optimizer.param_groups for w in group["params"]}
    assert {name: settings[id(weight)] for name, weight in model.named_parameters()} == {
        "encoder_pairs.lora_a": (1.0, 0.1),
        "encoder_pairs.bias": (1.0, 0.0),
        "encoders_of_others.weight": (10.0, 0.1),
    }


def with_loss_weights(**balancing: object) -> Model:
    model = Model()
    model.loss_weights = LossWeights(BalancingConfig(weighting="uncertainty", **balancing), CS224N.by_name)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_losses_train_at_a_rate_of_their_own_and_do_not_decay(name: str) -> None:
    model = with_loss_weights()
    optimizer = build_optimizer(model, OptimizerConfig(name=name, lr=1e-3, head_lr_scale=10.0, weight_decay=0.1))
    set_lr(optimizer, 1e-9, 0.25)
    (group,) = (group for group in optimizer.param_groups if group["lr"] > 1e-7)
    assert {id(weight) for weight in group["params"]} == {id(weight) for weight in model.loss_weights.parameters()}
    assert (group["lr"], group["weight_decay"]) == (0.25 * LOSS_WEIGHTS_LR, 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_losses_go_where_they_undo_twice_the_scaled_loss_at_the_default_rate(name: str) -> None:
    """And not far beyond it.  The losses jump about where they stand: their mean is what counts."""
    config = OptimizerConfig(name=name)
    model = with_loss_weights(loss_weights={"sst": 0.3, "qqp": 1.0, "sts": 3.0})
    optimizer = build_optimizer(model, config)
    losses = {"sst": 1.6, "qqp": 0.05, "sts": 9.0}
    jumps = 0.8 + 0.4 * torch.rand(1000, generator=torch.Generator().manual_seed(1))
    path = []
    for jump in jumps:
        set_lr(optimizer, config.lr, 1.0)
        optimizer.zero_grad(set_to_none=True)
        model.loss_weights({task: jump * loss for task, loss in losses.items()}).backward()
        optimizer.step()
        path.append({task: s.item() for task, s in model.loss_weights.log_variances.items()})
    for task, loss in losses.items():
        expected = math.log(2 * model.loss_weights.scales[task] * loss)
        assert abs(expected) > 0.9
        assert path[-1][task] == pytest.approx(expected, abs=0.1)
        assert max(s[task] / expected for s in path) < 1.2


@pytest.mark.parametrize(
    ("config", "betas"),
    [
        (OptimizerConfig(), (0.9, 0.999)),
        (OptimizerConfig(name="lion"), (0.9, 0.99)),
        (OptimizerConfig(name="lion", beta1=0.8, beta2=0.0), (0.8, 0.0)),
        (OptimizerConfig(beta2=0.5), (0.9, 0.5)),
    ],
)
def test_betas_are_those_of_the_optimizer_unless_given(config: OptimizerConfig, betas: tuple[float, float]) -> None:
    optimizer = build_optimizer(Model(), config)
    assert isinstance(optimizer, Lion if config.name == "lion" else torch.optim.AdamW)
    assert all(group["betas"] == betas for group in optimizer.param_groups)


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_a_sparse_gradient_train_as_a_dense_one(name: str) -> None:
    config = OptimizerConfig(name=name, lr=1e-2, weight_decay=0.1)
    one, two = Model(sparse=True), Model(sparse=False)
    norms = train(one, build_optimizer(one, config), 6), train(two, build_optimizer(two, config), 6)
    assert norms[0] == pytest.approx(norms[1])
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_without_gradient_stands_still(name: str) -> None:
    model = Model()
    before = model.heads["qqp"].weight.detach().clone()
    train(model, build_optimizer(model, OptimizerConfig(name=name, lr=1e-2, weight_decay=0.5)), 3)
    assert torch.equal(before, model.heads["qqp"].weight)


@pytest.mark.parametrize("name", NAMES)
def test_state_as_tensors_goes_on_bit_for_bit(name: str) -> None:
    config = OptimizerConfig(name=name, lr=1e-2)
    one, two = Model(), Model()
    optimizer = build_optimizer(one, config)
    train(one, optimizer, 4)
    two.load_state_dict(one.state_dict())
    resumed = build_optimizer(two, config)
    tensors = optimizer_tensors(optimizer, one)
    load_optimizer_tensors(resumed, two, {name: tensor.clone() for name, tensor in tensors.items()})
    assert "exp_avg.encoder.words.weight" in tensors
    assert not any("qqp" in name for name in tensors)
    assert {name.split(".")[0] for name in tensors} == STATE[config.name]
    train(one, optimizer, 3)
    train(two, resumed, 3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("max_norm", [0.5, 1e9, None])
def test_clipping_equals_torchs_on_dense_gradients(max_norm: float | None) -> None:
    one, two = Model(sparse=True), Model(sparse=False)
    for model in (one, two):
        model(torch.tensor([1, 3, 3])).square().sum().backward()
    norm = clip_gradients(one.parameters(), max_norm)
    expected = torch.nn.utils.clip_grad_norm_(two.parameters(), max_norm or float("inf"))
    torch.testing.assert_close(norm, expected)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad.to_dense(), b.grad)
