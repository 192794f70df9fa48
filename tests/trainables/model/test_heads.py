from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from trainables.config_parts import HeadConfig
from trainables.model.dropout import dropout
from trainables.model.heads import HEADS, build_head, pair_features
from trainables.model.hidden import hidden_of
from trainables.tasks import CS224N

WIDTH = 8
COSINES = ("cosine", "compress_expand")
ALL = [(kind, task) for kind in HEADS for task in CS224N.by_name if task == "sts" or kind not in COSINES]
WITH_WEIGHTS = [pair for pair in ALL if pair[0] != "cosine"]


def build(kind: str, task: str = "sst", seed: int = 0, **config: Any) -> torch.nn.Module:
    values = {"kind": kind, "dropout": 0.0, **config}
    return HEADS[kind](WIDTH, CS224N.by_name[task], HeadConfig(**values), torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(kind: str, num_examples: int, seed: int = 0) -> tuple[Any, ...]:
    """What a head of this kind reads, float64: features, first and second sentences, or tokens (1 to 4 a sequence)."""
    if kind == "conv1d":
        lengths = np.arange(num_examples) % 4 + 1
        return (hidden_of(normal(int(lengths.sum()), WIDTH, seed=seed), lengths),)
    if HeadConfig(kind=kind).of_two_sentences:
        return normal(num_examples, WIDTH, seed=seed), normal(num_examples, WIDTH, seed=seed + 1)
    return (normal(num_examples, WIDTH, seed=seed),)


def float32(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(v.float() if isinstance(v, torch.Tensor) else v.with_states(v.states.float()) for v in values)


@pytest.mark.parametrize(("kind", "task"), ALL)
def test_each_gives_one_row_an_example(kind: str, task: str) -> None:
    out = build(kind, task)(*float32(inputs(kind, 3)), None)
    assert out.shape == (3, CS224N.by_name[task].num_outputs)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize(("kind", "task"), WITH_WEIGHTS)
def test_its_seed_decides_its_weights(kind: str, task: str) -> None:
    before = torch.get_rng_state()
    one, two, other = (build(kind, task, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(not torch.equal(one[name], other[name]) for name in one if name.endswith("weight"))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("kind", "task"), [pair for pair in ALL if pair[0] not in COSINES])
def test_starts_at_the_middle_of_a_score_and_at_0_else(kind: str, task: str) -> None:
    bias = build(kind, task).output.bias
    assert bias.tolist() == [2.5 if task == "sts" else 0.0] * CS224N.by_name[task].num_outputs


@pytest.mark.parametrize(("kind", "task"), WITH_WEIGHTS)
def test_dropout_is_drawn_in_training_only(kind: str, task: str) -> None:
    head, given_ = build(kind, task, dropout=0.5), float32(inputs(kind, 64))
    assert torch.equal(head(*given_, None), head(*given_, None))
    one, two, other = (head(*given_, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert not torch.equal(one, head(*given_, None))


def test_a_cosine_draws_no_mask_and_claims_no_dropout() -> None:
    head, given_ = build("cosine", "sts", dropout=0.5), float32(inputs("cosine", 8))
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert torch.equal(head(*given_, generator), head(*given_, None))
    assert torch.equal(generator.get_state(), before)
    assert {kind: hasattr(build(kind, "sts"), "dropout") for kind in HEADS} == {kind: kind != "cosine" for kind in HEADS}


def test_a_convolution_draws_one_mask_over_its_channels_alone() -> None:
    head, given_ = build("conv1d", dropout=0.5, hidden_size=6), float32(inputs("conv1d", 8))
    drawn, masked = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    head(*given_, drawn)
    dropout(torch.ones(8, 6), 0.5, masked)
    assert torch.equal(drawn.get_state(), masked.get_state())


NO_HIDDEN_LAYER = ("linear", "abs_difference_linear", "cosine")


def reference(head: torch.nn.Module, config: HeadConfig, values: tuple[Any, ...]) -> torch.Tensor:
    """The raw output of a head (before `OUTPUTS`), one example at a time, in plain words."""
    weights = head.state_dict()
    activation = {"relu": torch.relu, "gelu": F.gelu, "tanh": torch.tanh, None: torch.relu}[config.activation]
    if config.kind == "abs_difference" and config.activation is None:
        activation = F.gelu

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    def convolved(states: torch.Tensor) -> torch.Tensor:
        kernel = weights["hidden.weight"].view(-1, 3, WIDTH).transpose(1, 2)  # [channels, input, 3]
        out = F.conv1d(states.T[None], kernel, weights["hidden.bias"], padding=1)[0]
        return linear("output", activation(out).max(dim=1).values)

    def cosine(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return ((u @ v) / (u.norm() * v.norm()))[None]

    plain = {
        "linear": lambda x: linear("output", x),
        "mlp": lambda x: linear("output", activation(linear("hidden", x))),
        "abs_difference": lambda u, v: linear("output", activation(linear("hidden", (u - v).abs()))),
        "abs_difference_linear": lambda u, v: linear("output", (u - v).abs()),
        "cosine": cosine,
        "compress_expand": lambda u, v: cosine(*(linear("expand", activation(linear("compress", x))) for x in (u, v))),
        "conv1d": convolved,
    }[config.kind]
    if config.kind == "conv1d":
        values = (values[0].states.split(values[0].lengths.long().tolist()),)
    return torch.stack([plain(*row) for row in zip(*values, strict=True)])


@given(
    pair=st.sampled_from(ALL),
    activation=st.sampled_from([None, "relu", "gelu", "tanh"]),
    output=st.sampled_from(["identity", "relu", "sigmoid"]),
    num_examples=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_each_equals_a_plain_reference(pair: tuple[str, str], activation: Any, output: str, num_examples: int, seed: int) -> None:
    kind, task = pair
    config = HeadConfig(
        kind=kind,
        dropout=0.0,
        activation=None if kind in NO_HIDDEN_LAYER else activation,
        hidden_size=None if kind in NO_HIDDEN_LAYER else 6,
        output=output if task == "sts" else "identity",
    )
    head = HEADS[kind](WIDTH, CS224N.by_name[task], config, torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():
        for weight in head.parameters():
            weight.add_(0.5 * normal(*weight.shape, seed=seed))  # biases too; and no bottleneck that is all but empty
    values = inputs(kind, num_examples, seed)
    raw = reference(head, config, values)
    if kind in COSINES and output != "sigmoid":
        raw = 2.5 * (raw + 1)
    expected = {"identity": lambda x: x, "relu": lambda x: x.clamp(min=0), "sigmoid": lambda x: 5 * x.sigmoid()}[config.output]
    torch.testing.assert_close(head(*values, None), expected(raw))


def test_a_cosine_is_5_where_sentences_agree_and_0_where_they_oppose() -> None:
    u = normal(1, WIDTH)
    out = build("cosine", "sts")(u.repeat(3, 1), torch.cat([3 * u, -u, F.normalize(torch.zeros_like(u))]), None)
    torch.testing.assert_close(out, torch.tensor([[5.0], [0.0], [2.5]]).double())
    assert not list(build("cosine", "sts").parameters())


def test_an_empty_sentence_gives_a_small_gradient() -> None:
    first = torch.zeros(1, WIDTH, requires_grad=True)  # as a bottleneck whose units are all dropped
    build("cosine", "sts")(first, torch.ones(1, WIDTH), None).sum().backward()
    assert 0 < first.grad.norm() < 1e4


def test_compress_expand_drops_between_its_layers() -> None:
    head = build("compress_expand", "sts", dropout=0.5, hidden_size=4)
    with torch.no_grad():
        head.compress.weight.zero_()
        head.compress.bias.fill_(1.0)
        head.expand.weight.zero_()
        head.expand.weight[:4] = torch.eye(4)
    zeros = torch.zeros(200, WIDTH)
    torch.testing.assert_close(head(zeros, zeros, None), torch.full((200, 1), 5.0))
    out = head(zeros, zeros, torch.Generator().manual_seed(0))
    # Both sentences have masks of their own: of 16 * 16 pairs some agree, and some have nothing in common.
    assert out.min() == 2.5
    assert out.max().item() == pytest.approx(5)


def test_convolution_sees_both_neighbours_and_no_other_sequence() -> None:
    head = build("conv1d", hidden_size=3)
    with torch.no_grad():
        head.hidden.weight.zero_()
        for channel in range(3):  # each copies one feature: of the token before, of the token itself, of the one after
            head.hidden.weight[channel, channel * WIDTH] = 1
        head.output.weight.zero_()
        head.output.weight[:3] = torch.eye(3)
    states = torch.zeros(6, WIDTH)
    states[:, 0] = torch.tensor([9.0, 2, 8, 4, 1, 3])
    out = head(hidden_of(states, np.array([2, 3, 1])), None)
    assert out[:, :3].tolist() == [[9, 9, 2], [8, 8, 4], [0, 3, 0]]


@pytest.mark.parametrize("kind", ["mlp", "conv1d", "abs_difference", "compress_expand"])
def test_hidden_layers_are_32_wide_or_as_told(kind: str) -> None:
    name = "compress" if kind == "compress_expand" else "hidden"
    assert getattr(build(kind, "sts"), name).out_features == 32
    assert getattr(build(kind, "sts", hidden_size=5), name).out_features == 5


def test_pair_features_are_u_v_and_their_distance_if_it_is_wanted() -> None:
    first, second = torch.tensor([[1.0, 5.0]]), torch.tensor([[4.0, 3.0]])
    assert pair_features(first, second, "u_v_difference").tolist() == [[1, 5, 4, 3, 3, 2]]
    assert pair_features(first, second, "u_v").tolist() == [[1, 5, 4, 3]]


def test_a_head_keeps_its_pooling_and_its_weights() -> None:
    def weights(**config: Any) -> dict[str, list[int]]:
        task, generator = CS224N.by_name["sst"], torch.Generator()
        head = build_head(WIDTH, task, HeadConfig(**config), "attention", generator, reads_apart=False)
        return {name: list(weight.shape) for name, weight in head.state_dict().items() if name.startswith("pooling")}

    assert weights() == weights(kind="mlp") == {"pooling.score.weight": [1, WIDTH]}
    assert weights(pooling="mean") == weights(kind="conv1d") == {}
