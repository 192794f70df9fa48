import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.model import unpadded
from trainables.model.unpadded import MAX_GROUPS, attend, attend_from_one, group_by_length, plan_attention

lengths_of_batches = st.lists(st.integers(1, 40), min_size=1, max_size=20).map(np.array)
CPU = torch.device("cpu")


def attend_one_by_one(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: np.ndarray, heads: int
) -> torch.Tensor:
    outs, start = [], 0
    for length in lengths:
        parts = [x[start : start + length].view(length, heads, -1).transpose(0, 1) for x in (query, key, value)]
        scores = parts[0] @ parts[1].transpose(1, 2) / parts[0].shape[-1] ** 0.5
        outs.append((scores.softmax(-1) @ parts[2]).transpose(0, 1).reshape(length, -1))
        start += length
    return torch.cat(outs)


@given(lengths_of_batches, st.integers(0, 5_000))
def test_groups_hold_every_sequence_once_in_order_of_length(lengths: np.ndarray, group_cost: int) -> None:
    groups = group_by_length(lengths, group_cost)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    assert 1 <= len(groups) <= MAX_GROUPS
    assert all(lengths[one].max() < lengths[two].min() for one, two in itertools.pairwise(groups))


def test_groups_split_where_it_pays() -> None:
    lengths = np.array([10] * 500 + [100] * 500)
    assert [len(group) for group in group_by_length(lengths, 2_000)] == [500, 500]
    assert len(group_by_length(np.array([10, 11, 12]), 2_000)) == 1
    pair = np.array([10, 20])  # 2 * 400 pairs in one group, 100 + 400 in two
    assert [len(group_by_length(pair, group_cost)) for group_cost in (299, 301)] == [2, 1]


@settings(deadline=None, max_examples=25)
@given(lengths_of_batches, st.booleans())
def test_equals_attention_of_each_sequence_alone_with_gradients(lengths: np.ndarray, is_fused: bool) -> None:
    heads, total = 2, int(lengths.sum())
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(total, 8, generator=generator, requires_grad=True) for _ in range(3)]
    upstream = torch.randn(total, 8, generator=generator)
    plan = plan_attention(lengths, heads, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpadded, "_FUSED_ON", ("cpu",) if is_fused else ())
        ours = attend(*inputs, plan, [None] * len(plan.groups))
    theirs = attend_one_by_one(*inputs, lengths, heads)
    torch.testing.assert_close(ours, theirs)
    for one, two in zip(torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(theirs, inputs, upstream), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [[3, 9, 1, 4], [5, 5]])
def test_in_one_kernel_bf16_is_attention_too(lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest fp32 number, which hides padding, is minus infinity there; no row has padding alone."""
    plan = plan_attention(np.array(lengths), 2, CPU)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(sum(lengths), 8, generator=generator).bfloat16() for _ in range(3)]
    exact = attend(*(x.float() for x in inputs), plan, [None] * len(plan.groups))
    monkeypatch.setattr(unpadded, "_FUSED_ON", ("cpu",))
    fused = attend(*inputs, plan, [None] * len(plan.groups))
    assert fused.dtype == torch.bfloat16
    torch.testing.assert_close(fused.float(), exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("fused_on", [(), ("cpu",)], ids=["composed", "fused"])
@pytest.mark.parametrize("lengths", [[3, 9, 1, 4], [5, 5], [1, 1], [2, 40, 30, 3, 1, 12] * 3])
def test_attention_of_one_token_a_sequence_is_that_of_all(
    lengths: list[int], fused_on: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, generator = plan_attention(np.array(lengths), 2, CPU), torch.Generator().manual_seed(0)
    inputs = [torch.randn(sum(lengths), 8, generator=generator, requires_grad=True) for _ in range(3)]
    asked = torch.from_numpy(np.cumsum(lengths) - 1)
    upstream = torch.randn(len(lengths), 8, generator=generator)
    nothing = [None] * len(plan.groups)
    of_all = attend(*inputs, plan, nothing)[asked]
    monkeypatch.setattr(unpadded, "_FUSED_ON", fused_on)
    of_one = attend_from_one(inputs[0][asked], inputs[1], inputs[2], plan, nothing)
    torch.testing.assert_close(of_one, of_all)
    ones, alls = (torch.autograd.grad(of, inputs, upstream) for of in (of_one, of_all))
    for one, all_ in zip(ones, alls, strict=True):
        torch.testing.assert_close(one, all_)


def test_gradients_are_right_to_finite_differences_with_masks() -> None:
    lengths, heads = np.array([1, 4, 2, 3]), 2
    plan = plan_attention(lengths, heads, CPU)
    masks = [(torch.rand(g.num_sequences * heads, g.length, g.length) > 0.3).double() for g in plan.groups]
    plan = type(plan)(
        tuple(type(g)(g.num_sequences, g.length, None if g.mask is None else g.mask.double()) for g in plan.groups),
        plan.slot_rows,
        None if plan.slot_used is None else plan.slot_used.double(),
        plan.token_slots,
        plan.order,
    )
    inputs = [torch.randn(10, 4, dtype=torch.double, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, plan, masks), inputs)
    of_one = [mask[:, :1] for mask in masks]
    assert torch.autograd.gradcheck(lambda q, k, v: attend_from_one(q[:4], k, v, plan, of_one), inputs)


@pytest.mark.parametrize("lengths", [[5, 5, 5], [5]])
def test_equal_lengths_need_no_mask(lengths: list[int]) -> None:
    plan = plan_attention(np.array(lengths), 2, CPU)
    assert plan.slot_used is None
    assert [group.mask for group in plan.groups] == [None]
